"""The zoo: trained networks that come with the package, each a RUN folder with a card.

`names` knows where they lie, `card` what a card says, `page` how it is written for people. `benchmarks.zoo` packs them.
"""

from neuroseg.zoo.names import NETWORKS, PREFIX, network_folder, network_names, resolve_run

__all__ = ["NETWORKS", "PREFIX", "network_folder", "network_names", "resolve_run"]
