"""The steps of set-up, one a module: each can tell cheaply whether it is done, and does it when not.

Standard library only, Python 3.8 or newer (see ``toolchain.bootstrap``).
"""
