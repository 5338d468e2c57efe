"""The Pulumi program: components, one a file. Reads the stack's file, declares, exports; opens no socket."""

ERRORS_VARIABLE = "TPU_STACK_ERRORS_FILE"
"""A caller that names a file here gets the program's errors as data too, and can raise them as what they were."""
