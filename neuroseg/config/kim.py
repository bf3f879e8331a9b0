"""Model sections of Spiking-DeepLab and Spiking-FCN (Kim et al. 2022)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neuroseg.config.model_section import ModelSection
from neuroseg.config.section import Count, Seed


class KimConfig(ModelSection):
    """What Spiking-DeepLab and Spiking-FCN share (Kim et al. 2022): a VGG9 backbone of three stages.

    widths      channels of the stages
    classifier  channels of the wide layers before the class scores
    neuron      lif, or relu: the ANN twin. It has batch norms, reads real pixels and takes the average over frames, if there
                are any: norm, reset, coding, readout, v_th and tau say nothing then. On images its steps are 1
    norm        bntt: a gain per time step, as in the paper; tdbn: one for all steps. Only tdbn deploys
    reset       soft: the threshold is subtracted, as in the paper; hard: to zero. Only hard deploys
    coding      of images. poisson: spikes of the pixels, as in the paper; direct: the host computes the first convolution.
                Events come as they are
    coding_seed of the numbers that Poisson coding compares pixels with in evaluation
    pool        side of the average pools, stride 2: 3 as in the paper; 2 deploys
    readout     accumulate: the last layer's input, summed over time by the host; rate: class neurons' spikes
    v_th, tau   firing threshold; fraction of the membrane that stays (0.99: the paper's leak)
    """

    widths: tuple[Count, Count, Count] = (64, 128, 256)
    classifier: Count = 1024
    neuron: Literal["lif", "relu"] = "lif"
    norm: Literal["bntt", "tdbn"] = "bntt"
    reset: Literal["soft", "hard"] = "soft"
    coding: Literal["poisson", "direct"] = "poisson"
    coding_seed: Seed = 0
    pool: Literal[2, 3] = 3
    readout: Literal["accumulate", "rate"] = "accumulate"
    steps: Count = 20
    v_th: Annotated[float, Field(gt=0)] = 1.0
    tau: Annotated[float, Field(ge=0, lt=1)] = 0.99


class DeepLabConfig(KimConfig):
    """Spiking-DeepLab: dilated convolutions, a class map at a quarter of the image, resized by the host.

    dilation   of the classifier's 3x3: 12 as in the paper, which at 64x64 pixels reaches over most of the 16x16 map
    """

    family: Literal["deeplab"]
    dilation: Count = 12

    @property
    def multiple(self) -> int:
        """Two pools."""
        return 4


class FcnConfig(KimConfig):
    """Spiking-FCN: transposed convolutions and skip convolutions back to the size of the image."""

    family: Literal["fcn"]

    @property
    def multiple(self) -> int:
        """Three pools."""
        return 8
