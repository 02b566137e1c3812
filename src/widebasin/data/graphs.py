"""Graphs of different sizes as arrays with an axis over graphs, padded to the most nodes and edges that occur."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Num, Shaped

from widebasin.data.errors import DataError

# Largest size of padded nodes and edges, in bytes.
LARGEST = 1 << 33
# Largest number of nodes of a graph, as edges are int16.
MOST_NODES = int(np.iinfo(np.int16).max)
# Up to here, float32 represents every whole number exactly.
EXACT = 1 << 24


class RaggedGraphs(NamedTuple):
    """Graphs one after another, without padding.

    Attributes:
        nodes: features of the nodes of all graphs.
        node_counts: number of nodes of every graph.
        edges: the two nodes of every edge, numbered from 0 within their graph.
        edge_counts: number of edges of every graph.
    """

    nodes: Shaped[np.ndarray, "all_nodes features"]
    node_counts: Int[np.ndarray, " graphs"]
    edges: Int[np.ndarray, "all_edges 2"]
    edge_counts: Int[np.ndarray, " graphs"]


class PaddedGraphs(NamedTuple):
    """Graphs as ``Dataset`` holds them.

    Attributes:
        inputs: ``nodes``, features ``[graphs, most nodes, features]``, in the first of uint8, int16 and float32 that
            represents all of them, 0 for padding; ``edges``, int16 ``[graphs, most edges, 2]``, every undirected edge
            once, the lower node first, in ascending order, -1 for padding; ``sizes``, int32 ``[graphs]``, numbers of
            nodes.
        self_loops: how many edges from a node to itself were left out.
        doubles: how many edges were left out because they occurred before, in either direction.
    """

    inputs: dict[str, np.ndarray]
    self_loops: int
    doubles: int


def padded_graphs(
    nodes: Shaped[np.ndarray, "all_nodes features"],
    node_counts: Int[np.ndarray, " graphs"],
    edges: Int[np.ndarray, "all_edges 2"],
    edge_counts: Int[np.ndarray, " edge_lists"],
    order: Int[np.ndarray, " graphs"] | None = None,
    source: str = "graphs",
) -> PaddedGraphs:
    """Pads graphs that are given one after another.

    Graphs may have no node or no edge. Edges are undirected: loops are left out, and of several edges between two nodes
    one is kept.

    Args:
        nodes: features of the nodes of all graphs, numbers or truth values.
        node_counts: number of nodes of every graph.
        edges: two nodes of every edge, numbered from 0 within their graph.
        edge_counts: number of edges of every graph, as many as node counts.
        order: the graphs in the wanted order, each once; by default the given order.
        source: name of the graphs in error messages, such as their file.

    Raises:
        DataError: if counts are negative or not those of the nodes or edges, an edge leaves its graph, features are no
            finite numbers of float32, a graph has more than 32,767 nodes, or the padded arrays would take more than
            8 GiB.
    """
    node_counts, edge_counts = np.asarray(node_counts, np.int64), np.asarray(edge_counts, np.int64)
    _refuse_counts(source, "nodes", node_counts, len(nodes))
    _refuse_counts(source, "edges", edge_counts, len(edges))
    graphs = len(node_counts)
    if len(edge_counts) != graphs:
        raise DataError(
            f"{source}: {graphs:,} node counts but {len(edge_counts):,} edge counts; give one of each per graph"
        )
    if node_counts.max(initial=0) > MOST_NODES:
        graph = int(node_counts.argmax())
        raise DataError(f"{source}: graph {graph:,} has {node_counts[graph]:,} nodes, but at most {MOST_NODES:,} fit")
    place = np.arange(graphs)
    if order is not None:
        place[order] = np.arange(graphs)
    low, high, edge_graphs = _refused_outside(source, node_counts, edges, edge_counts)
    loops = low == high
    # Bits: the index of the graph, then the lower node, then the higher one.
    keys = (place[edge_graphs] << 32 | low << 16 | high)[~loops]
    del low, high, edge_graphs
    keys.sort()
    unique = keys[np.diff(keys, prepend=-1) != 0]
    ordered_counts = np.bincount(unique >> 32, minlength=graphs)
    most_nodes, most_edges = int(node_counts.max(initial=0)), int(ordered_counts.max(initial=0))
    dtype = _smallest(source, nodes)
    needed = graphs * (most_nodes * nodes.shape[1] * dtype.itemsize + 4 * most_edges)
    if needed > LARGEST:
        raise DataError(
            f"{source}: {graphs:,} graphs padded to {most_nodes:,} nodes and {most_edges:,} edges take {needed:,} "
            f"bytes, more than {LARGEST:,}; leave out the largest graphs"
        )
    padded_nodes = np.zeros((graphs, most_nodes, nodes.shape[1]), dtype)
    padded_edges = np.full((graphs, most_edges, 2), -1, np.int16)
    padded_nodes[np.repeat(place, node_counts), _within(node_counts)] = nodes
    slots = unique >> 32, _within(ordered_counts)
    padded_edges[(*slots, 0)] = unique >> 16 & 0xFFFF
    padded_edges[(*slots, 1)] = unique & 0xFFFF
    sizes = np.empty(graphs, np.int32)
    sizes[place] = node_counts
    inputs = {"nodes": padded_nodes, "edges": padded_edges, "sizes": sizes}
    return PaddedGraphs(inputs, int(loops.sum()), len(keys) - len(unique))


def ragged_graphs(inputs: dict[str, np.ndarray]) -> RaggedGraphs:
    """The inverse of ``padded_graphs``, except for the order of edges and for edges that were left out."""
    nodes, edges, sizes = (np.asarray(inputs[name]) for name in ("nodes", "edges", "sizes"))
    real = edges[..., 0] >= 0
    return RaggedGraphs(nodes[np.arange(nodes.shape[1]) < sizes[:, None]], sizes, edges[real], real.sum(1))


def one_hot(values: Num[np.ndarray, " values"], width: int) -> np.ndarray:
    """One-hot vectors, uint8 ``[values, width]``."""
    return (np.asarray(values)[:, None] == np.arange(width)).astype(np.uint8)


def _within(counts: np.ndarray) -> np.ndarray:
    """The numbers 0, 1, ... within every graph."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _refuse_counts(source: str, what: str, counts: np.ndarray, there: int) -> None:
    if counts.min(initial=0) < 0:
        graph = int(counts.argmin())
        raise DataError(f"{source}: graph {graph:,} has {counts[graph]:,} {what}; counts must be at least 0")
    if counts.sum() != there:
        raise DataError(
            f"{source}: there are {there:,} {what}, but the counts of the {len(counts):,} graphs add up to "
            f"{counts.sum():,}; get the files again"
        )


def _refused_outside(
    source: str, node_counts: np.ndarray, edges: np.ndarray, edge_counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The lower node, the higher node and the graph of every edge; ``DataError`` for a node outside its graph."""
    edges = np.asarray(edges).reshape(-1, 2)
    edge_graphs = np.repeat(np.arange(len(edge_counts)), edge_counts)
    outside = (edges.min(1) < 0) | (edges.max(1) >= node_counts[edge_graphs])
    if outside.any():
        edge = int(outside.argmax())
        graph = int(edge_graphs[edge])
        first, second = edges[edge].tolist()
        raise DataError(
            f"{source}: edge {edge - int(edge_counts[:graph].sum()):,} of graph {graph:,} joins {first:,} and "
            f"{second:,}, but its nodes are numbered 0 to {node_counts[graph] - 1:,}; both ends must be among them"
        )
    return edges.min(1).astype(np.int64), edges.max(1).astype(np.int64), edge_graphs


def _smallest(source: str, nodes: np.ndarray) -> np.dtype:
    """The smallest type that represents all features."""
    if nodes.dtype.kind not in "buif":
        raise DataError(f"{source}: node features have the type {nodes.dtype}; they must be numbers")
    low, high = (nodes.min(), nodes.max()) if nodes.size else (0, 0)
    if nodes.dtype.kind != "f":
        for dtype in (np.uint8, np.int16):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return np.dtype(dtype)
        exact = max(-int(low), int(high)) <= EXACT
    else:
        exact = bool(np.abs([low, high]).max() <= np.finfo(np.float32).max)  # not of NaN
    if not exact:
        raise DataError(
            f"{source}: node features range from {low} to {high}, which float32 cannot represent; rescale them, or "
            "replace missing values"
        )
    return np.dtype(np.float32)
