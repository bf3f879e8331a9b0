"""The Lava child with one fault planted in the processes it builds: `planted_child.py FAULT NAME OTHER JOB`.

FAULT  reset: population NAME is reset one step late; delay: projection NAME listens to population OTHER instead
"""

import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    fault, name, other, folder = sys.argv[1:]
    from export.lava import build, child

    neuron, connect = build._neuron, build._connect

    def late(population, graph):
        if population.name == name:
            graph = replace(graph, arrivals={**graph.arrivals, name: graph.arrivals[name] + 1})
        return neuron(population, graph)

    def elsewhere(projection, *rest):
        return connect(replace(projection, source=other) if projection.name == name else projection, *rest)

    if fault == "reset":
        build._neuron = late
    else:
        build._connect = elsewhere
    sys.exit(child.main(Path(folder)))
