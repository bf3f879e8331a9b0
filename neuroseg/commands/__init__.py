"""What the command line does: the only code that knows both the training side and the compiler."""
