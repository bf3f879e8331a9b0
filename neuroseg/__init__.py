"""neuroseg takes a trained full-spike segmentation network to Lava and Loihi 2, spike for spike."""

__version__ = "0.1.0"
