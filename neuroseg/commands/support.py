"""`neuroseg support`: which model runs on which target, found out by compiling each of them at a reduced size.

Nothing here knows what is supported. A model is compiled as it stands; where the compiler refuses, its own words name the way
out (a key of the config, an option of the command), which is tried, until the model compiles or no way out is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any, Literal, TypeAlias

import torch
import yaml
from torch import nn

import hw_configs
from export.errors import CertificateError, GrammarError, NeurosegError, QuantizeError, TraceError, UsageError
from export.mapping.summary import summarise
from export.pipeline import Compiled, compile_module
from hw_configs import System
from neuroseg.commands.console import progress, say, show
from neuroseg.config import Config, load_config
from neuroseg.models import build

ALLOW_GRADED = "--allow-graded"
WAY_OUT = re.compile(rf"model\.\w+=\w+|--neuron \w+|--reset \w+|{ALLOW_GRADED}")
MOST_SWITCHES = 6
ALONG = {
    "model.neuron=lif": ("model.steps=4",)
}  # an ANN has one step, in which neurons would keep nothing from step to step
TRAIN_ANEW = (
    "Switches `model.*` name another network, to be trained anew with them; a trained ANN becomes a spiking network by "
    "`neuroseg convert`, too, whose options the switches `--neuron` and `--reset` are."
)
REFUSALS = (TraceError, CertificateError, QuantizeError, GrammarError)
SPIKE_RATE = 0.2
CALIBRATION = 4  # random inputs
Check: TypeAlias = Callable[[Compiled, str, System | None], None]  # network, its name, system


@dataclass(frozen=True)
class Target:
    """Something that runs compiled networks.

    graded  it can run graded spikes, if asked with --allow-graded
    check   raises NeurosegError for what it cannot hold; the compiler has refused everything else
    """

    name: str
    what: str
    graded: bool = False
    check: Check = field(default=lambda compiled, name, system: None)


def _on_chip(compiled: Compiled, name: str, system: System | None) -> None:
    """What the chip's registers, and the system's cores, cannot hold."""
    from export.lava.board import check_board  # imports Lava

    check_board(compiled.graph)
    if system is not None:
        findings = summarise(name, compiled.graph, compiled.placement, system)["findings"]
        if findings:
            raise NeurosegError(findings[0])


TARGETS = (
    Target("int", "the integer executor", graded=True),
    Target("lava", "Lava on a CPU: stock processes, stock models"),
    Target(f"lava {ALLOW_GRADED}", "the same, with a process of ours for graded spikes", graded=True),
    Target("loihi2", "the stock processes, within a chip's registers; nothing here has run on a board", check=_on_chip),
)


@dataclass(frozen=True)
class Model:
    """A line of `support.yaml`: a shipped config, made small.

    convert   options of `neuroseg convert`, for a network that is converted from the config's ANN; None: it is not
    source    where the ANN is read from, as `neuroseg convert` reads it: a `run`, or an `onnx` file
    """

    name: str
    config: str
    overrides: tuple[str, ...] = ()
    convert: dict[str, Any] | None = None
    source: Literal["run", "onnx"] = "run"

    def built(self, switches: Sequence[str] = ()) -> tuple[Config, nn.Module]:
        """Its config and network with what switches change: keys of the config, or options. It has seen noise only: enough for
        the statistics of norms to be those of no other step or channel.
        """
        config = load_config(self.config, (*self.overrides, *(s for s in switches if s.startswith("model."))))
        network: nn.Module = build(config).train()
        with torch.no_grad():
            network(noise(config))
        network.eval()
        return (config, network) if self.convert is None else self._converted(config, network, switches)

    def takes(self, switch: str) -> bool:
        """Whether a switch is one of this model: keys are of a config, options of a conversion."""
        return switch.startswith("--") == (self.convert is not None)

    def _converted(self, config: Config, ann: nn.Module, switches: Sequence[str]) -> tuple[Config, nn.Module]:
        """What `neuroseg convert` makes of an ANN, calibrated on random images."""
        from neuroseg.commands.converting import Conversion, Source, converted
        from neuroseg.commands.support_onnx import through_onnx
        from neuroseg.convert import METHODS, activation_scales, read_module

        assert self.convert is not None
        changed = dict(s.removeprefix("--").split() for s in switches if s.startswith("--") and s != ALLOW_GRADED)
        ask = Conversion(**{"match": False, **self.convert, **changed})  # what matches rates needs the data set
        layers, images = read_module(ann), noise(config)
        if self.source == "onnx":
            layers = through_onnx(layers, images)
        method = next(m for m in METHODS if m == ask.normalise)
        scales = activation_scales(layers, [images], CALIBRATION, method, ask.percentile)
        return converted(Source(layers, config, self.source, config.name, "untrained"), ask, scales)


def noise(config: Config) -> torch.Tensor:
    """Random inputs (N, *input_shape) in [0, 1], 0 or 1 where the network reads spikes; always the same."""
    values = torch.rand(CALIBRATION, *config.input_shape, generator=torch.Generator().manual_seed(0))
    return (values < SPIKE_RATE).float() if config.data.inputs.kind == "spikes" else values


@dataclass(frozen=True)
class Attempt:
    """What became of a model: compiled, maybe with switches, or refused. reason: of the first refusal."""

    switches: tuple[str, ...]
    compiled: Compiled | None
    reason: str | None

    @property
    def status(self) -> str:
        """deployed, switch or refused."""
        if self.compiled is None:
            return "refused"
        return "switch" if self.switches else "deployed"


def models() -> list[Model]:
    """All lines of `support.yaml`."""
    text = (resources.files("neuroseg") / "commands" / "support.yaml").read_text(encoding="utf-8")
    return [
        Model(row["name"], row["config"], tuple(row.get("set", ())), row.get("convert"), row.get("source", "run"))
        for row in yaml.safe_load(text)["models"]
    ]


def support(system: str | None = None, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The matrix of models and targets (JSON-ready); every cell is the outcome of a compilation.

    system   a name of `hw_configs`, or a YAML file: on loihi2, the small network must fit it, too
    names    of the models; None: all
    """
    board = None if system is None else hw_configs.load_system(system)
    chosen = [model for model in models() if names is None or model.name in names]
    rows = []
    with progress("models") as on_progress:
        for done, model in enumerate(chosen):
            rows.append(_row(model, board))
            on_progress(done + 1, len(chosen))
    return {
        "schema_version": 1,
        "system": None if board is None else board.name,
        "targets": [{"name": target.name, "what": target.what} for target in TARGETS],
        "models": rows,
    }


def _row(model: Model, system: System | None) -> dict[str, Any]:
    found = {True: attempt(model, graded=True)}
    asked = ALLOW_GRADED in found[True].switches
    found[False] = attempt(model, graded=False) if asked else found[True]
    return {
        "name": model.name,
        "config": model.config,
        "overrides": list(model.overrides),
        "convert": model.convert,
        "source": model.source,
        "cells": [_cell(target, _held(model, found[target.graded], target, system)) for target in TARGETS],
    }


def attempt(model: Model, graded: bool) -> Attempt:
    """Compile a model, with the ways out that the compiler names where it refuses. Keys that a config lacks are no way out."""
    switches: tuple[str, ...] = ()
    first = ""
    while len(switches) <= MOST_SWITCHES:
        try:
            config, network = model.built(switches)
            compiled = compile_module(network, config.input_shape, allow_graded=graded and ALLOW_GRADED in switches)
            return Attempt(switches, compiled, first or None)
        except UsageError as error:
            if not switches:
                raise  # a line of `support.yaml` that is no config
            reason = str(error)  # a switch may ask for another one
        except REFUSALS as error:
            reason = str(error)
            first = first or reason
        way_out = _way_out(model, reason, switches, graded)
        if way_out is None:
            break
        switches = (*switches, way_out, *ALONG.get(way_out, ()))
    return Attempt((), None, first)


def _way_out(model: Model, reason: str, tried: Sequence[str], graded: bool) -> str | None:
    """What the compiler's words name and has not been tried; graded spikes are preferred where they can be run."""
    named = [way for way in WAY_OUT.findall(reason) if way not in tried]
    if graded and ALLOW_GRADED in named:
        return ALLOW_GRADED
    return next((way for way in named if way != ALLOW_GRADED and model.takes(way)), None)


def _held(model: Model, found: Attempt, target: Target, system: System | None) -> Attempt:
    """The attempt, refused where the target cannot hold what came out."""
    if found.compiled is None:
        return found
    try:
        target.check(found.compiled, model.name, system)
    except NeurosegError as error:
        return replace(found, compiled=None, switches=(), reason=str(error))
    return found


def _cell(target: Target, found: Attempt) -> dict[str, Any]:
    return {"target": target.name, "status": found.status, "switches": list(found.switches), "reason": found.reason}


def show_support(result: dict[str, Any]) -> None:
    """The matrix, what its switches mean, and the reasons in the compiler's words."""
    columns = ("model", *(target["name"] for target in result["targets"]))
    rows = [(row["name"], *(cell_text(cell) for cell in row["cells"])) for row in result["models"]]
    fits = f", and loihi2 within {result['system']}" if result["system"] else ""
    show(f"compiled at reduced sizes{fits}", columns, rows)
    say(TRAIN_ANEW)
    for row in result["models"]:
        for reason in dict.fromkeys(shortened(cell["reason"]) for cell in row["cells"] if cell["reason"]):
            say(f"{row['name']}: {reason}")


def shortened(reason: str) -> str:
    """The compiler's words up to the first module that they name."""
    head, *lines = reason.splitlines()
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return " ".join([head, *lines[:1]]).replace(":   ", ": ") + more


def cell_text(cell: dict[str, Any]) -> str:
    """'yes', 'with model.norm=tdbn', or 'no'."""
    if cell["status"] == "refused":
        return "no"
    return "yes" if cell["status"] == "deployed" else "with " + ", ".join(cell["switches"])


def markdown(result: dict[str, Any]) -> str:
    """The matrix as a Markdown table, and the reasons of refusals as a list."""
    header = ["model", *(target["name"] for target in result["targets"])]
    lines = [f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    reasons: list[str] = []
    for row in result["models"]:
        cells = []
        for cell in row["cells"]:
            text = cell_text(cell)
            if cell["status"] == "refused":
                said = shortened(cell["reason"])
                reasons += [said] if said not in reasons else []
                text += f" [{reasons.index(said) + 1}]"
            cells.append("with " + ", ".join(f"`{s}`" for s in cell["switches"]) if cell["switches"] else text)
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"[{i + 1}] {reason}  " for i, reason in enumerate(reasons))]) + "\n"
