"""Models for neuro-cores. The stand-in's subclasses also are stock's Python models, so that Lava can run them here."""

import os
from pathlib import Path

from lava.magma.core.model.model import AbstractProcessModel


class AbstractNcProcessModel(AbstractProcessModel):
    """Notes, in the file that STANDIN_LOG names, which chip model was started."""

    def __init__(self, proc_params=None):
        super().__init__(proc_params)
        with Path(os.environ["STANDIN_LOG"]).open("a") as log:
            log.write(f"{type(self).__name__}\n")
