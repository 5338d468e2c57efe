"""Engines: what each needs to be launched, and the ladder of rungs by which it counts as up."""
