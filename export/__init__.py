"""The neuroseg compiler: from a trained full-spike module to a network that runs on Lava and Loihi."""

NEUROSEG_COMPILER = True  # the CLI checks this marker: an unrelated distribution named `export` exists
