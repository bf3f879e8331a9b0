"""The graph on Intel's Lava runtime: stock processes, in a supervised child, spikes through files."""
