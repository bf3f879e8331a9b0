"""How good the networks of the papers become on small budgets: trained, converted, scored by the command line.

`python -m benchmarks.accuracy` runs plan.yaml and writes benchmarks/results/accuracy.json, accuracy.md and a log per run.
"""
