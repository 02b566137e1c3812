"""Synthetic graphs, graph convolutions with h features per node: mol-gcn on embedded data."""

import functools

from widebasin.data import RING_TASKS, Buckets, SplitSizes, ring_graphs
from widebasin.data.rings import FEATURES
from widebasin.models import GraphConvolution
from widebasin.training import BINARY_TASKS, Recipe
from widebasin.workloads.dropout import dropout
from widebasin.workloads.graphs import cut_graphs, graph_buckets
from widebasin.workloads.workload import SupervisedWorkload


@functools.cache
def _buckets() -> Buckets:
    return graph_buckets(ring_graphs().inputs, 2)


RINGS_GCN = SupervisedWorkload(
    name="rings-gcn",
    model="gcn",
    description="made graphs with rings (embedded), four questions on each, graph convolutions of width h",
    load=ring_graphs,
    build=lambda width, key: GraphConvolution(width, features=FEATURES, outputs=len(RING_TASKS), depth=3, key=key),
    sizes=SplitSizes(train=1_200, valid=300, test=500),
    objective=BINARY_TASKS,
    recipe=Recipe(epochs=30, batch_size=50, optimizer="adam", learning_rate=0.01, schedule="cosine"),
    widths=(8, 16, 32),
    rhos=(0.02, 0.1),
    quick={"widths": (8, 16), "rhos": (0.05,), "seeds": 2, "epochs": 6},
    axes=(dropout(0.0),),
    given=("dropout",),
    buckets=_buckets,
    cut=lambda graphs, length: cut_graphs(ring_graphs().inputs, _buckets())(graphs, length),
)
