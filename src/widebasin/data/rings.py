"""Small random graphs like molecules, and tasks that depend on their structure."""

import functools

import numpy as np

from widebasin.data.dataset import Dataset
from widebasin.data.graphs import padded_graphs

NODES = (6, 24)
MOST_DEGREE = 4
# Shares of the kinds of nodes.
KINDS = (0.5, 0.15, 0.15, 0.2)
RING_LENGTHS = (3, 4, 5, 6)
MOST_RINGS = 3
FEATURES = len(KINDS) + 1
RING_TASKS = ("triangle", "pentagon", "kind 1 beside kind 2", "two rings")


@functools.cache
def ring_graphs(graphs: int = 2_000, missing: float = 0.1, seed: int = 0) -> Dataset:
    """Random trees of 6 to 24 nodes of degree 4 at most, and 0 to 3 edges more, each of which closes a ring.

    A ring is wanted of 3, 4, 5 or 6 nodes, all alike, and closed between two nodes so far apart, if there are. Nodes
    are of four kinds. Their features are the kind, one of four columns that is 1, and the number of their neighbours:
    uint8 ``[graphs, nodes, 5]``. The tasks ``RING_TASKS``:
    whether there is a cycle of 3 nodes; whether there is one of 5; whether nodes of kind 1 and 2 are neighbours;
    whether there are two rings or more, which is edges less nodes plus 1. Positives are 32, 36, 44 and 47 percent of
    20,000 graphs.

    Args:
        graphs: how many.
        missing: share of labels that are missing, by chance.
        seed: of graphs and missing labels; the split is a matter of the network's seed.

    Returns:
        inputs as ``PaddedGraphs``, targets int8 ``[graphs, 4]``, -1 where missing.

    Raises:
        ValueError: if ``missing`` is not from 0 to below 1, or there is no graph.
    """
    if not 0 <= missing < 1:
        raise ValueError(f"missing must be from 0 to below 1, got {missing}")
    if graphs < 1:
        raise ValueError(f"graphs must be at least 1, got {graphs}")
    generator = np.random.default_rng(seed)
    sizes = generator.integers(NODES[0], NODES[1] + 1, graphs)
    adjacency = _trees(generator, sizes)
    _close_rings(generator, adjacency)
    kinds = generator.choice(len(KINDS), (graphs, NODES[1]), p=KINDS).astype(np.uint8)
    targets = ring_tasks(adjacency, kinds, sizes)
    targets[generator.random(targets.shape) < missing] = -1
    owner, *ends = np.nonzero(np.triu(adjacency))
    there = np.arange(NODES[1]) < sizes[:, None]
    nodes = np.column_stack(
        [np.eye(len(KINDS), dtype=np.uint8)[kinds[there]], adjacency.sum(2)[there].astype(np.uint8)]
    )
    padded = padded_graphs(nodes, sizes, np.stack(ends, axis=1), np.bincount(owner, minlength=graphs))
    return Dataset("rings", padded.inputs, targets, num_classes=2)


def ring_tasks(adjacency: np.ndarray, kinds: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Labels int8 ``[graphs, 4]`` of ``RING_TASKS``.

    Args:
        adjacency: whether two nodes are neighbours, ``[graphs, nodes, nodes]``.
        kinds: of the nodes, ``[graphs, nodes]``.
        sizes: number of nodes, ``[graphs]``; the graphs must be connected.

    Source: Harary and Manvel 1971, "On the number of cycles in a graph", for the number of cycles of 5 nodes.
    """
    joined = adjacency.astype(np.float64)
    degrees = joined.sum(2)
    cubed = joined @ joined @ joined
    closed = np.einsum("gii->gi", cubed)
    walks = np.einsum("gij,gji->g", cubed, joined @ joined)
    triangles = closed.sum(1) / 6
    pentagons = (walks - 5 * closed.sum(1) - 5 * ((degrees - 2) * closed).sum(1)) / 10
    beside = (adjacency & (kinds == 1)[:, :, None] & (kinds == 2)[:, None, :]).any((1, 2))
    rings = degrees.sum(1) / 2 - sizes + 1
    return np.stack([triangles > 0, pentagons > 0, beside, rings >= 2], axis=1).astype(np.int8)


def _trees(generator: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
    """Every node is joined to an earlier one, all alike that have a bond left."""
    graphs = np.arange(len(sizes))
    adjacency = np.zeros((len(sizes), NODES[1], NODES[1]), bool)
    for node in range(1, NODES[1]):
        free = adjacency[:, :node].sum(2) < MOST_DEGREE
        parent = _chosen(generator, free)
        there = graphs[node < sizes]
        adjacency[there, node, parent[there]] = adjacency[there, parent[there], node] = True
    return adjacency


def _close_rings(generator: np.random.Generator, adjacency: np.ndarray) -> None:
    """Joins two nodes that are so far apart that a ring of the wanted length closes, so many times as are drawn."""
    graphs, nodes = adjacency.shape[:2]
    wanted = generator.integers(0, MOST_RINGS + 1, graphs)
    for number in range(MOST_RINGS):
        lengths = generator.choice(RING_LENGTHS, graphs)
        reached = np.broadcast_to(np.eye(nodes, dtype=bool), adjacency.shape)
        apart = np.zeros(adjacency.shape, bool)
        for distance in range(1, max(RING_LENGTHS)):
            further = reached | (reached.astype(np.float32) @ adjacency.astype(np.float32) > 0)
            apart |= (further & ~reached) & (lengths == distance + 1)[:, None, None]
            reached = further
        free = adjacency.sum(2) < MOST_DEGREE
        apart &= free[:, :, None] & free[:, None, :]
        pair = _chosen(generator, apart.reshape(graphs, -1))
        there = np.nonzero((number < wanted) & apart.any((1, 2)))[0]
        first, second = np.divmod(pair[there], nodes)
        adjacency[there, first, second] = adjacency[there, second, first] = True


def _chosen(generator: np.random.Generator, allowed: np.ndarray) -> np.ndarray:
    """A column of every row, all alike that are allowed."""
    return np.where(allowed, generator.random(allowed.shape), -1.0).argmax(1)
