"""NetX files: Intel's HDF5 exchange format, written so that stock lava-dl runs a chain and refuses a graph."""
