"""The compiler's passes, one file each, in the order of `export.pipeline`."""
