"""How fast neuroseg is beside what it replaces, and what it needs: `python -m benchmarks.speed`, `make bench`.

Every ratio has both sides in one run, one after the other in turn (A B A B ...), and is one of medians.
"""
