"""Graph data sets in the format of TU Dortmund University, such as MUTAG and PROTEINS."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from widebasin.data.archives import explained
from widebasin.data.dataset import Dataset
from widebasin.data.errors import DataError
from widebasin.data.graphs import one_hot, padded_graphs
from widebasin.data.molecules import parts_of_tenths
from widebasin.data.number_files import read_numbers
from widebasin.data.places import Versions, folders_here, not_obtained, versions
from widebasin.data.splits import SplitSizes

# Nodes with this many neighbours or more share a feature, where degrees are the only features.
MOST_DEGREE = 32
# Largest number of different labels of nodes.
MOST_LABELS = 1_000


@dataclass(frozen=True)
class ClassifiedGraphs:
    """Graphs with one label each.

    Attributes:
        dataset: inputs as ``PaddedGraphs``; targets int32 ``[graphs]``; the split is drawn by seed.
        classes: the label in the file of every class, in ascending order.
        sizes: sizes of a split into 80, 10 and 10 percent.
    """

    dataset: Dataset
    classes: tuple[int, ...]
    sizes: SplitSizes


def tu_graphs(source: Path | str) -> ClassifiedGraphs:
    """The graphs of a data set ``DS``, from ``DS_A.txt`` and the files beside it.

    Features of a node are its labels (``DS_node_labels.txt``), each as one of so many columns that is 1, and its
    attributes (``DS_node_attributes.txt``) as they are; if there are neither, the number of its neighbours, one of at
    most 33 columns, the last for 32 and more. Labels and attributes of edges are not read. The labels of graphs are any
    whole numbers, and classes their order.

    Args:
        source: a folder; or the name ``DS``, which is looked for in ``DS`` of the data folder (see ``folders_of``).

    Raises:
        DataError: if the data set is not found; a file is missing or damaged, or has values that are not whole numbers;
            numbers of nodes differ between files; an edge names a node that does not exist or joins two graphs; all
            graphs have the same label; there are fewer than 10 graphs.

    Source: Morris et al. 2020, "TUDataset" (arXiv 2007.08663).
    """
    folder = Path(source)
    if isinstance(source, str) and folder.name == source and not folder.is_dir():
        folder = _found(source)
    return _graphs(folder.resolve(), versions(folder.glob("*.txt")))


def _found(name: str) -> Path:
    for folder in folders_here(name):
        for place in (folder, folder / name):
            if (place / f"{name}_A.txt").is_file():
                return place
    raise not_obtained(name, f"download {name}.zip from https://chrsmrrs.github.io/datasets and unpack it")


@functools.lru_cache(maxsize=8)
def _graphs(folder: Path, version: Versions) -> ClassifiedGraphs:
    del version
    with explained(folder):
        names = sorted(path.name.removesuffix("_A.txt") for path in folder.iterdir() if path.name.endswith("_A.txt"))
    if folder.name in names:
        names = [folder.name]
    if len(names) != 1:
        found = ", ".join(f"{name}_A.txt" for name in names) or "none"
        raise DataError(f"{folder}: must contain one file named *_A.txt, found {found}")
    (name,) = names
    files = {kind: folder / f"{name}_{kind}.txt" for kind in ("A", "graph_indicator", "graph_labels")}
    for path in files.values():
        if not path.is_file():
            raise DataError(f"{path}: the file is missing; unpack the archive again")
    labels = read_numbers(files["graph_labels"], np.int64, columns=1)[:, 0]
    classes, targets = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"{files['graph_labels']}: at least two different labels are needed")
    if len(labels) < 10:
        raise DataError(f"{files['graph_labels']}: {len(labels)} graphs; at least 10 are needed for a split")
    graph_of, order, place = _nodes(files["graph_indicator"], len(labels))
    edges = _edges(files["A"], graph_of)
    features = _features(folder, name, edges, len(graph_of))
    counts = np.bincount(graph_of, minlength=len(labels))
    edge_graphs = graph_of[edges[:, 0]]
    local = place[edges] - (np.cumsum(counts) - counts)[edge_graphs][:, None]
    by_graph = np.argsort(edge_graphs, kind="stable")
    graphs = padded_graphs(
        features[order],
        counts,
        local[by_graph],
        np.bincount(edge_graphs, minlength=len(labels)),
        source=str(folder),
    )
    dataset = Dataset(name, graphs.inputs, targets.astype(np.int32), num_classes=len(classes))
    return ClassifiedGraphs(dataset, tuple(classes.tolist()), parts_of_tenths(len(labels)))


def _nodes(path: Path, graphs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The graph of every node, the nodes ordered by graph, and every node's index in this order; all from 0."""
    graph_of = read_numbers(path, np.int64, columns=1)[:, 0] - 1
    wrong = (graph_of < 0) | (graph_of >= graphs)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{path}: row {row + 1:,} is graph {graph_of[row] + 1:,}, but only graphs 1 to {graphs:,} have "
            "labels; get the files again"
        )
    order = np.argsort(graph_of, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return graph_of, order, place


def _edges(path: Path, graph_of: np.ndarray) -> np.ndarray:
    """The two nodes of every edge, from 0."""
    edges = read_numbers(path, np.int64, columns=2) - 1
    nodes = len(graph_of)
    wrong = ((edges < 0) | (edges >= nodes)).any(1)
    if wrong.any():
        row = int(wrong.argmax())
        named = " and ".join(map(str, (edges[row] + 1).tolist()))
        raise DataError(f"{path}: row {row + 1:,} joins {named}, but nodes are numbered 1 to {nodes:,}")
    first, second = graph_of[edges].T
    if (first != second).any():
        row = int((first != second).argmax())
        raise DataError(
            f"{path}: row {row + 1:,} joins a node of graph {first[row] + 1:,} to one of graph {second[row] + 1:,}; "
            "both must be in the same graph"
        )
    return edges


def _features(folder: Path, name: str, edges: np.ndarray, nodes: int) -> np.ndarray:
    parts = []
    labels, attributes = (folder / f"{name}_node_{kind}.txt" for kind in ("labels", "attributes"))
    if labels.is_file():
        for values in _of_nodes(labels, np.int64, nodes).T:
            kinds, codes = np.unique(values, return_inverse=True)
            if len(kinds) > MOST_LABELS:
                raise DataError(f"{labels}: {len(kinds):,} different labels; at most {MOST_LABELS:,} are supported")
            parts.append(one_hot(codes, len(kinds)))
    if attributes.is_file():
        parts.append(_of_nodes(attributes, np.float32, nodes))
    if parts:
        return np.concatenate(parts, axis=1)
    pairs = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1), axis=0)
    degrees = np.minimum(np.bincount(pairs.ravel(), minlength=nodes), MOST_DEGREE)
    return one_hot(degrees, int(degrees.max(initial=0)) + 1)


def _of_nodes(path: Path, dtype: type, nodes: int) -> np.ndarray:
    values = read_numbers(path, dtype)
    if len(values) != nodes:
        raise DataError(f"{path}: {len(values):,} rows, but the graph indicator has {nodes:,}; get the files again")
    return values
