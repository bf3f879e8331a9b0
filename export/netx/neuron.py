"""The neuron of a NetX layer, and which of lava-dl's neurons have no exact counterpart here."""

from __future__ import annotations

from typing import cast, get_args

import numpy as np

from export.errors import FileFormatError
from export.graph import Kind, Lif
from export.netx.fields import Fields

STOCK_DEFAULT = Lif(v_th=1 << 17, u_decay=0, v_decay=4096)  # lava-dl 0.6.0, `Network.create_dense` without a neuron


def read_lif(layer: Fields, graded: bool = False) -> Lif:
    """Neuron parameters of a layer; a refractory or non-LIF neuron is refused, and a graded one unless `graded`."""
    neuron = layer.child("neuron", layer.where)
    kind = neuron.text("type")
    if kind not in ("LOIHI", "CUBA"):
        layer.fail(f"neuron type '{kind}' is not supported: train with CUBA (LIF) neurons")
    for key, allowed, way_out in (
        ("gradedSpike", int(graded), "export binary spikes"),
        ("messageBits", 0, "export binary spikes"),
        ("refDelay", 1, "train without a refractory period"),
        ("wgtExp", 0, "multiply the weights by 2**wgtExp and store 0"),
    ):
        if neuron.has(key) and _flag(neuron, key) != allowed:
            layer.fail(f"neuron/{key} is {_flag(neuron, key)}; only {allowed} is supported: {way_out}")
    u_decay, v_decay = neuron.integer("iDecay"), neuron.integer("vDecay")
    for key, value in (("iDecay", u_decay), ("vDecay", v_decay)):
        if not 0 <= value <= 4096:
            layer.fail(f"neuron/{key} is {value}; decays are 0 to 4096")
    return Lif(neuron.integer("vThMant"), u_decay, v_decay)


def placeholder(layer: Fields) -> tuple[Lif, str | None]:
    """For mapping, which looks at no neuron's parameters: the layer's neuron, or lava-dl's default where it has none
    or one that neuroseg cannot run, and then why.
    """
    try:
        return (read_lif(layer) if layer.has("neuron") else STOCK_DEFAULT), None
    except FileFormatError as error:
        return STOCK_DEFAULT, str(error).removeprefix(f"{layer.where}: ").removesuffix(".")


def read_kind(layer: Fields, default: str) -> Kind:
    """The population kind in a layer's attributes; foreign files have none and take the default."""
    kind = str(layer.group.attrs.get("kind", default))
    if kind not in get_args(Kind):
        layer.fail(f"attribute 'kind' is '{kind}'; expected one of {', '.join(get_args(Kind))}")
    return cast(Kind, kind)


def _flag(neuron: Fields, key: str) -> int:
    value = neuron.group[key][()]
    return int(value) if isinstance(value, np.bool_) else neuron.integer(key)
