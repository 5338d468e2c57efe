"""What a machine needs to work on tpu-stack, and how it gets there.

``bootstrap`` and ``install`` are standard library only and run on Python 3.8 or newer: they are what finds
Python 3.12. ``paths`` tells the rest of the project where things are.
"""
