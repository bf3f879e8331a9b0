"""Runs a spiking network on SANA-FE's Loihi 1: a script of its own, in an environment of its own.

    .tools/sanafe/bin/python tests/sanafe_runner.py network.json counts.json

Input:  {"steps", "inputs": {"cores": [...], "spikes": [[0, 1, ...] per neuron]},
         "neurons": {"cores": [...], "v_th": [...], "keeps": [...]}, "synapses": [[source, target, weight], ...]}
        A source below the number of inputs is an input; neurons are numbered after them. A core is 4 * tile + place.
Output: {"fired": [[neuron, ...] per step], "packets", "synops", "updates": per step, "hops": {"inputs", "neurons"}:
         [messages, east-west, north-south], "energy_j"}
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import sanafe

SYNAPSE, NEURON = "loihi_conv_synapse", "loihi_lif"


ALL_INPUTS = "loihi_inputs[0..1023]"


def loihi(inputs, folder):
    """SANA-FE's own Loihi 1 with fewer input units per core: 1,024 on each of 128 take seconds to set up."""
    text = (files("sanafe.examples") / "loihi.yaml").read_text()
    assert ALL_INPUTS in text
    (folder / "loihi.yaml").write_text(text.replace(ALL_INPUTS, f"loihi_inputs[0..{inputs - 1}]"))
    return sanafe.load_arch(folder / "loihi.yaml")


def build(given, folder):
    """(architecture, network) with every neuron on its core."""
    architecture, network = loihi(len(given["inputs"]["cores"]), folder), sanafe.Network()
    cores = architecture.cores()
    inputs, neurons = given["inputs"], given["neurons"]
    sources = network.create_neuron_group("inputs", len(inputs["cores"]), log_spikes=True)
    targets = network.create_neuron_group("neurons", len(neurons["cores"]), log_spikes=True)
    used = {}
    for i, (core, spikes) in enumerate(zip(inputs["cores"], inputs["spikes"])):  # noqa: B905
        unit = used[core] = used.get(core, -1) + 1
        sources[i].set_attributes(
            soma_hw_name=f"loihi_inputs[{unit}]", model_attributes={"spikes": spikes}, log_spikes=True
        )
        sources[i].map_to_core(cores[core])
    for i, core in enumerate(neurons["cores"]):
        model = {"threshold": neurons["v_th"][i], "leak_decay": neurons["keeps"][i]}
        targets[i].set_attributes(
            soma_hw_name=NEURON, default_synapse_hw_name=SYNAPSE, model_attributes=model, log_spikes=True
        )
        targets[i].map_to_core(cores[core])
    count = len(inputs["cores"])
    for group, first, end in ((sources, 0, count), (targets, count, count + len(neurons["cores"]))):
        chosen = [s for s in given["synapses"] if first <= s[0] < end]
        if chosen:
            pairs = [(s[0] - first, s[1] - count) for s in chosen]
            group.connect_neurons_sparse(targets, {"w": [float(s[2]) for s in chosen]}, pairs)
    return architecture, network


def hops_of(messages, group):
    """[messages, hops east-west, hops north-south] that neurons of one group sent."""
    sent = [m for step in messages for m in step if not m["placeholder"] and m["src_neuron_group_id"] == group]
    across = sum(abs(m["src_x"] - m["dest_x"]) for m in sent)
    along = sum(abs(m["src_y"] - m["dest_y"]) for m in sent)
    assert across + along == sum(m["hops"] for m in sent)
    return [len(sent), across, along]


def main():
    """Simulate, and write what was counted."""
    given = json.loads(Path(sys.argv[1]).read_text())
    architecture, network = build(given, Path(sys.argv[2]).parent)
    chip = sanafe.SpikingChip(architecture)
    chip.load(network)
    done = chip.sim(
        given["steps"],
        timing_model="simple",
        spike_trace=True,
        perf_trace=True,
        message_trace=True,
        processing_threads=1,
    )
    messages = done["message_trace"]
    first = {"inputs": 0, "neurons": len(given["inputs"]["cores"])}
    fired = []
    for step in done["spike_trace"]:
        names = [str(name).rsplit(".", 1) for name in step]
        fired.append(sorted(first[group] + int(number) for group, number in names))
    counts = {
        "fired": fired,
        "packets": [sum(not m["placeholder"] for m in step) for step in messages],
        "synops": done["perf_trace"]["spikes"],
        "updates": done["perf_trace"]["updated"],
        "hops": {group: hops_of(messages, group) for group in first},
        "energy_j": done["energy"]["total"],
    }
    Path(sys.argv[2]).write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
