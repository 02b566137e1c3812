"""What graph workloads share: buckets of sizes, and how padded graphs are cut."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from widebasin.data import Buckets


def graph_buckets(inputs: Mapping[str, np.ndarray], number: int = 4) -> Buckets:
    """Buckets by number of nodes that waste least if a graph costs ``nodes^1.5``.

    The cost of the dense layers grows with the number of nodes, that of products with the adjacency matrix with its
    square.
    """
    return Buckets.fitted(inputs["sizes"], number, power=1.5, longest=inputs["nodes"].shape[1])


def cut_graphs(inputs: Mapping[str, np.ndarray], buckets: Buckets) -> Callable[[Any, int], Any]:
    """A function that cuts a batch of padded graphs to a number of nodes, see ``training.Bucketed``.

    Args:
        inputs: all graphs, as in ``PaddedGraphs``.
        buckets: buckets of these graphs.
    """
    edges = (inputs["edges"][..., 0] >= 0).sum(1)
    # A column holds graphs of its own bucket or of smaller ones.
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
