"""What each Invoke task does. ``tasks.py`` parses and calls; ``console`` prints and exits."""
