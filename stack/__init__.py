"""What the Pulumi program and the runtime share: the stack's file, names, labels and errors."""
