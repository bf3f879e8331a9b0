"""Mapping: how many cores, which ones, what travels between them, and what that costs."""
