"""Executors: the same quantised graph, run in exact integers by torch."""
