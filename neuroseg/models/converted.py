"""Networks that are a list of layers: ANNs that were read from elsewhere, and what they become as spiking networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from export.errors import UsageError
from neuroseg.config import Inputs
from neuroseg.config.converted import IMAGE, ConvertedConfig, Layer
from neuroseg.models.ann import Relu
from neuroseg.models.blocks import ConvNorm
from neuroseg.models.currents import tensor_of
from neuroseg.models.integrate_fire import IntegrateFire
from neuroseg.models.linear import AveragePool, LinearReadOut, TrainedBias
from neuroseg.models.neuron import Lif
from neuroseg.models.pool import SumPool
from neuroseg.models.synapse import SynapseConv, SynapseConvT
from neuroseg.models.wiring import Concat, ImageInput, MaxPool

POOL_FIX = "in the ANN (model.pool=2 if it is a deeplab or fcn), which is then converted again"


class Converted(nn.Module):
    """Images (N, C, H, W) -> (logits (N, classes, H', W'),), or an image: the layers of a config, one after the other.

    Evaluated, it is the spiking network: neurons run T steps from rest. Training, it is the *accumulated spiking flow* of
    that run (Wu et al. 2021; Spiking-UNet, section 3.4): each layer reads the rates at which the neurons before it really
    fired, and the gradient takes a neuron for a ReLU, 1 where its accumulated input is positive and 0 elsewhere. So a
    training step costs one run without gradients and one pass of an ANN, whatever T.

    Where this is not what Spiking-UNet prints (Li et al. 2024):

    * Equation 10 sums over time what a neuron handed on. Here it is the average, a T-th of that, as a read-out's bias and a
      rate are the ANN's own; and in units of the smallest threshold, whose value the next weights hold.
    * Equation 10 sets it to 0 where the accumulated input is not positive. A neuron may have fired there all the same, before
      its input turned negative, and the layer behind it saw those spikes. So the rate stands as it was, and only the gradient
      is 0: as in their Algorithm 1, which accumulates without that condition (line 9) and gates the way back (lines 13, 18).
    * Equation 11 takes the class probabilities from the accumulated input of the output layer, I_in. Here the softmax is of
      I_in / T, as their equation 12 has it for denoising. The class map is the same. The logits are those of the ANN, whose
      probabilities the weights were trained for; T times larger ones would be near 0 and 1, and learn from few pixels.
    * Their loss counts every pixel alike. Here void counts nothing, and `train.class_weight_power` may weigh the classes.
    * Behind a max pool the training pass reads the maximum of rates, and the spiking network the rate of an OR, which is at
      least that: train with average pools.
    """

    def __init__(self, config: ConvertedConfig, classes: int, inputs: Inputs) -> None:
        super().__init__()
        outputs = config.layers[-1].channels
        if inputs.kind != "image" or outputs is None or outputs[1] != classes:
            found = "no" if outputs is None else str(outputs[1])
            raise UsageError(
                f"a converted network reads images and gives {found} channels; the data are {inputs.kind} with {classes} "
                "classes. Use the data section of the network that was converted"
            )
        self.classes, self.steps = classes, config.steps
        self.plan = config.layers
        self.images = ImageInput(config.multiple, inputs)
        on_host = host_currents(config.layers)
        for layer in config.layers:
            steps = config.steps if layer.name in on_host else None
            place(self, layer.name, _module(layer, config, steps))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The read-out's output, averaged over time."""
        if self.training and any(isinstance(m, Lif | IntegrateFire) for m in self.modules()):
            return (self._flow(images),)
        return (self._run(self.images(images), lambda layer, x: self.get_submodule(layer.name)(x)),)

    def class_scores(self, logits: Tensor) -> Tensor:
        """The logits: accumulated scores are real."""
        return logits

    def rates(self, images: Tensor) -> dict[str, Tensor]:
        """What every neuron hands on per step, on average over T: layer -> (N, C, H, W); an ANN's activations."""
        found: dict[str, Tensor] = {}

        def fire(layer: Layer, x: Any) -> Tensor:
            out: Tensor = self.get_submodule(layer.name)(x)
            found[layer.name] = out.mean(1) if out.ndim == 5 else out
            return out

        with torch.no_grad():
            self._run(self.images(images), fire)
        return found

    def _flow(self, images: Tensor) -> Tensor:
        """Logits of the accumulated spiking flow, with its gradient."""
        rates = self.rates(images)
        return self._run(self.images(images), lambda layer, x: Flow.apply(tensor_of(x), rates[layer.name]))  # type: ignore[no-untyped-call, no-any-return]

    def _run(self, images: Tensor, fire: Callable[[Layer, Any], Any]) -> Any:
        values: dict[str, Any] = {IMAGE: images}
        out: Any = images
        for layer in self.plan:
            given = [values[name] for name in layer.inputs]
            if layer.op == "fire":
                out = fire(layer, given[0])
            elif layer.op == "add":
                out = given[0] + given[1]
            else:
                out = self.get_submodule(layer.name)(*map(tensor_of, given))
            values[layer.name] = out
        return out


class Flow(torch.autograd.Function):
    """What neurons handed on, with a ReLU's gradient (Spiking-UNet, Algorithm 1, lines 13 and 18; not equation 10's zero).

    forward(I_in, I_out) = I_out;   backward: dL/dI_in = dL/dI_out (I_in > 0)
    """

    @staticmethod
    def forward(ctx: Any, current: Tensor, rate: Tensor) -> Tensor:
        """The rates as they were recorded."""
        ctx.save_for_backward(current > 0)
        return rate.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Gated."""
        return gradient * ctx.saved_tensors[0], None


def host_currents(layers: tuple[Layer, ...]) -> set[str]:
    """Neurons whose current comes from pixels alone, and is therefore the same at every step."""
    still = {IMAGE}
    for layer in layers:
        if layer.op != "fire" and all(name in still for name in layer.inputs):
            still.add(layer.name)
    return {layer.name for layer in layers if layer.op == "fire" and layer.inputs[0] in still}


def place(root: nn.Module, dotted: str, module: nn.Module | None) -> None:
    """Make a module the submodule of that dotted name; what stands between is made, too."""
    *parents, last = dotted.split(".")
    for name in parents:
        if not hasattr(root, name):
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    if module is not None:
        root.add_module(last, module)


def _module(layer: Layer, config: ConvertedConfig, steps: int | None) -> nn.Module | None:
    """What computes a layer; None for a sum of currents, which needs nothing."""
    if layer.op == "average_pool":
        return AveragePool(layer.kernel, layer.stride, layer.padding)
    if layer.op == "sum_pool":
        return SumPool(layer.kernel, layer.stride, layer.padding, fix=POOL_FIX)
    if layer.op == "max_pool":
        return MaxPool(layer.kernel[0])
    if layer.op == "concat":
        return Concat()
    if layer.op == "add":
        return None
    if layer.op == "fire":
        return _neuron(config, steps)
    assert layer.channels is not None
    inputs, outputs = layer.channels
    if layer.op == "readout":
        return LinearReadOut(inputs, outputs, layer.kernel, layer.padding, layer.bias)
    geometry: dict[str, Any] = {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
    }
    conv: SynapseConv | SynapseConvT
    if layer.op == "conv":
        conv = SynapseConv(inputs, outputs, layer.kernel, **geometry)
    else:
        conv = SynapseConvT(inputs, outputs, layer.kernel, **geometry)
        conv.output_padding = (*layer.output_padding, 0)
    bias: Any = TrainedBias(outputs) if layer.bias else None
    return ConvNorm(conv, bias)


def _neuron(config: ConvertedConfig, steps: int | None) -> nn.Module:
    """The chip's own neuron where it can be that."""
    if config.neuron == "relu":
        return Relu()
    if config.reset == "hard":
        return Lif(1.0, tau=1.0, steps=steps)
    return IntegrateFire([threshold / config.unit for threshold in config.thresholds], 1.0, config.reset, steps)
