"""What workloads of graphs have in common: sizes, and how padded graphs are cut."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from widebasin.data import Buckets


def graph_buckets(inputs: Mapping[str, np.ndarray], number: int = 4) -> Buckets:
    """Buckets by the number of nodes, whose lengths waste least where a graph costs ``nodes^1.5``.

    Work grows with the nodes in the perceptrons, and with their square in the products with the adjacency matrix.
    """
    return Buckets.fitted(inputs["sizes"], number, power=1.5, longest=inputs["nodes"].shape[1])


def cut_graphs(inputs: Mapping[str, np.ndarray], buckets: Buckets) -> Callable[[Any, int], Any]:
    """How a batch of padded graphs is cut to so many nodes: see ``training.Bucketed``.

    Args:
        inputs: of all graphs, as ``PaddedGraphs`` has them.
        buckets: the sizes that occur.
    """
    edges = (inputs["edges"][..., 0] >= 0).sum(1)
    # Graphs of a column are in its bucket or in a smaller one.
    most = {
        length: int(edges[buckets.of_example <= bucket].max(initial=0)) for bucket, length in enumerate(buckets.lengths)
    }

    def cut(graphs: Any, length: int) -> Any:
        return {
            "nodes": graphs["nodes"][:, :length],
            "edges": graphs["edges"][:, : most[length]],
            "sizes": graphs["sizes"],
        }

    return cut
