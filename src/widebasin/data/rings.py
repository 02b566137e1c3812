"""Small random graphs that resemble molecules, with tasks that depend on their structure."""

import functools

import numpy as np

from widebasin.data.dataset import Dataset
from widebasin.data.graphs import padded_graphs

NODES = (6, 24)
MOST_DEGREE = 4
# Probabilities of the kinds of nodes.
KINDS = (0.5, 0.15, 0.15, 0.2)
RING_LENGTHS = (3, 4, 5, 6)
MOST_RINGS = 3
FEATURES = len(KINDS) + 1
RING_TASKS = ("triangle", "pentagon", "kind 1 beside kind 2", "two rings")


@functools.cache
def ring_graphs(graphs: int = 2_000, missing: float = 0.1, seed: int = 0) -> Dataset:
    """Random trees of 6 to 24 nodes with degrees of at most 4, plus 0 to 3 edges that each close a ring.

    The length of a ring is 3, 4, 5 or 6 with equal probability; it is closed if two nodes at the right distance exist.
    There are four kinds of nodes. The features of a node are its kind, one-hot, and its number of neighbours: uint8
    ``[graphs, nodes, 5]``. The tasks ``RING_TASKS`` are: is there a cycle of 3 nodes; is there a cycle of 5 nodes; are
    nodes of the kinds 1 and 2 neighbours; are there two rings or more (edges minus nodes plus 1). In 20,000 graphs 32,
    36, 44 and 47 percent are positive.

    Args:
        graphs: number of graphs.
        missing: fraction of labels that are missing at random.
        seed: determines graphs and missing labels; the split depends on the seed of the network.

    Returns:
        inputs as ``PaddedGraphs``, targets int8 ``[graphs, 4]``, -1 where missing.

    Raises:
        ValueError: if ``missing`` is not in [0, 1), or ``graphs`` is below 1.
    """
    if not 0 <= missing < 1:
        raise ValueError(f"missing must be at least 0 and below 1, got {missing}")
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
        kinds: kind of every node, ``[graphs, nodes]``.
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
    """Joins every node to an earlier one, chosen uniformly among those that can have another neighbour."""
    graphs = np.arange(len(sizes))
    adjacency = np.zeros((len(sizes), NODES[1], NODES[1]), bool)
    for node in range(1, NODES[1]):
        free = adjacency[:, :node].sum(2) < MOST_DEGREE
        parent = _chosen(generator, free)
        there = graphs[node < sizes]
        adjacency[there, node, parent[there]] = adjacency[there, parent[there], node] = True
    return adjacency


def _close_rings(generator: np.random.Generator, adjacency: np.ndarray) -> None:
    """Closes a random number of rings of random lengths, each by joining two nodes at the right distance."""
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
    """A column for every row, chosen uniformly among the allowed ones."""
    return np.where(allowed, generator.random(allowed.shape), -1.0).argmax(1)
