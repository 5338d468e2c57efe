"""The Pulumi program: components, one a file. Reads the stack's file, declares, exports; opens no socket."""
