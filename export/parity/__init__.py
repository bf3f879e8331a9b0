"""Parity: two executions of the same network, compared spike by spike."""
