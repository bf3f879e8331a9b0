"""Packs trained RUNs into the zoo (`neuroseg/zoo/networks`): everything on a card is measured by the command line.

`python -m benchmarks.zoo` packs what plan.yaml names.
"""
