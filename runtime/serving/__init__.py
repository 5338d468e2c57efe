"""A model served on every worker of a slice: the line from a config to a verdict.

open_slice -> place (lease, stop, bootstrap, model, launch) -> watch (ladder) -> Verdict
"""
