"""How this machine computes, for training and executors alike: threads, machine code, exact floats. Knows nothing of networks."""
