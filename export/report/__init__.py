"""What a compiled network costs: measured on its test vectors, as JSON and as pages."""
