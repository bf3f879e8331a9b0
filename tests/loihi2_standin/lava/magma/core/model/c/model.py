"""Models for the chip's embedded processors: the stand-in has none, `Loihi2HwCfg` only asks for the name.

`AbstractCProcessModel` is missing on purpose. Lava's compiler takes it and the chip models' base in one import; without
it, the compiler sees the stand-in's chip models as the Python models that they also are, and can run them.
"""

from lava.magma.core.model.model import AbstractProcessModel


class CLoihiProcessModel(AbstractProcessModel):
    """A C model that follows the Loihi protocol."""
