"""Molecules of the Open Graph Benchmark, from the folder in its archives."""

import functools
from pathlib import Path

import numpy as np

from widebasin.data.archives import Decompressed, explained
from widebasin.data.dataset import Dataset
from widebasin.data.errors import DataError
from widebasin.data.graphs import padded_graphs
from widebasin.data.molecules import ATOM_FEATURES, Molecules
from widebasin.data.number_files import read_numbers
from widebasin.data.places import Versions, folders_here, not_obtained, versions
from widebasin.data.splits import SplitSizes

MOLPCBA = "ogbg_molpcba"
# The name of the folder in its archive.
ARCHIVED = "pcba"
PARTS = ("train", "valid", "test")
REMEDY = "unpack the archive again"


def ogbg_molpcba() -> Molecules:
    """437,929 molecules with 128 assays of PubChem, split by scaffold, from the folder ``ogbg_molpcba`` or ``pcba``.

    Raises:
        DataError: if the data set is not found, or a file is missing or invalid.

    Source: Hu et al. 2020, "Open Graph Benchmark" (arXiv 2005.00687).
    """
    for folder in (*folders_here(MOLPCBA), *folders_here(ARCHIVED)):
        for place in (folder, folder / MOLPCBA, folder / ARCHIVED):
            if (place / "raw").is_dir():
                return ogb_molecules(place)
    raise not_obtained(
        MOLPCBA, "download https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/pcba.zip and unpack it"
    )


def ogb_molecules(folder: Path | str) -> Molecules:
    """The molecules of a folder ``ogbg_mol...`` of the Open Graph Benchmark, in the order train, valid, test.

    Reads ``raw/edge``, ``num-node-list``, ``num-edge-list``, ``node-feat`` and ``graph-label``, all without a header
    and with an empty cell where a label is missing; ``split/scaffold/train``, ``valid`` and ``test``, rows counted from
    0; and ``mapping/mol``, if it is there, for SMILES and names of tasks. All end in ``.csv.gz`` or ``.csv``. Features
    of bonds are not read.

    Raises:
        DataError: if a file is missing, truncated or damaged; numbers of graphs, nodes, edges or labels differ between
            files; an edge leaves its graph; a feature of an atom, or a row of the split, is out of range; a graph is in
            two parts or in none; a label is not 0, 1 or missing.

    Source: Hu et al. 2020, "Open Graph Benchmark" (arXiv 2005.00687).
    """
    folder = Path(folder).resolve()
    return _molecules(folder, versions(folder.rglob("*")))


@functools.lru_cache(maxsize=8)
def _molecules(folder: Path, version: Versions) -> Molecules:
    del version
    raw = folder / "raw"
    node_counts = read_numbers(_file(raw, "num-node-list"), np.int32, columns=1)[:, 0]
    edge_counts = read_numbers(_file(raw, "num-edge-list"), np.int32, columns=1)[:, 0]
    targets = _labels(_file(raw, "graph-label"))
    graphs = len(node_counts)
    for path, count in (("num-edge-list", len(edge_counts)), ("graph-label", len(targets))):
        if count != graphs:
            raise DataError(f"{_file(raw, path)}: {count:,} rows, but num-node-list has {graphs:,}; {REMEDY}")
    order, sizes = _split(folder / "split" / "scaffold", graphs)
    nodes = _features(_file(raw, "node-feat"))
    edges = read_numbers(_file(raw, "edge"), np.int16, columns=2)
    padded = padded_graphs(nodes, node_counts, edges, edge_counts, order, str(raw))
    del nodes, edges
    smiles, tasks = _mapping(folder / "mapping", graphs, targets.shape[1])
    dataset = Dataset(
        folder.name, padded.inputs, targets[order], num_classes=2, fixed_valid=sizes.valid, fixed_test=sizes.test
    )
    return Molecules(dataset, tuple(smiles[order].tolist()) if len(smiles) else (), tasks, sizes)


def _file(folder: Path, name: str) -> Path:
    """The file with this name, compressed or not."""
    with explained(folder):
        for path in (folder / f"{name}.csv.gz", folder / f"{name}.csv"):
            if path.is_file():
                return path
    raise DataError(f"{folder}: {name}.csv.gz is missing; {REMEDY}")


def _labels(path: Path) -> np.ndarray:
    """Labels int8 ``[graphs, tasks]``, -1 where missing."""
    values = read_numbers(path, np.float32, missing=True)
    missing = np.isnan(values)
    wrong = ~(missing | (values == 0) | (values == 1))
    if wrong.any():
        row, column = (int(one[0]) for one in np.nonzero(wrong))
        raise DataError(
            f"{path}: row {row + 1:,}, column {column + 1:,} is {values[row, column]:g}; labels must be 0, 1 or "
            "missing, because regression tasks are not supported"
        )
    values[missing] = -1
    return values.astype(np.int8)


def _features(path: Path) -> np.ndarray:
    nodes = read_numbers(path, np.int16, columns=len(ATOM_FEATURES))
    for number, (name, values) in enumerate(ATOM_FEATURES.items()):
        column = nodes[:, number]
        if column.min(initial=0) < 0 or column.max(initial=0) >= values:
            row = int(((column < 0) | (column >= values)).argmax())
            raise DataError(
                f"{path}: row {row + 1:,}, column {number + 1} ({name}) is {column[row]}; it must be 0 to {values - 1}"
            )
    return nodes.astype(np.uint8)


def _split(folder: Path, graphs: int) -> tuple[np.ndarray, SplitSizes]:
    """The graphs ordered by part, and the sizes of the parts."""
    paths = [_file(folder, part) for part in PARTS]
    parts = [read_numbers(path, np.int64, columns=1)[:, 0] for path in paths]
    for path, rows in zip(paths, parts, strict=True):
        if not len(rows):
            raise DataError(f"{path}: the file is empty; {REMEDY}")
        if rows.min() < 0 or rows.max() >= graphs:
            wrong = rows[(rows < 0) | (rows >= graphs)][0]
            raise DataError(f"{path}: row {wrong:,} is named, but graphs are numbered 0 to {graphs - 1:,}; {REMEDY}")
    order = np.concatenate(parts)
    times = np.bincount(order, minlength=graphs)
    if (times != 1).any():
        graph = int((times != 1).argmax())
        raise DataError(f"{folder}: graph {graph:,} is named {times[graph]} times; it must be named once; {REMEDY}")
    return order, SplitSizes(*map(len, parts))


def _mapping(folder: Path, graphs: int, tasks: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """SMILES of all graphs, or none, and names of the tasks, or "task 1", "task 2" ... if unknown."""
    import pyarrow as pa
    from pyarrow import csv

    numbers = tuple(f"task {number}" for number in range(1, tasks + 1))
    path = next((path for path in (folder / "mol.csv.gz", folder / "mol.csv") if path.is_file()), None)
    if path is None:
        return np.zeros(0, object), numbers
    with explained(path, "cannot be read as comma-separated values"):
        with Decompressed(path) as stream:
            names = csv.open_csv(stream, csv.ReadOptions(use_threads=False)).schema.names
        if "smiles" not in names:
            raise DataError(f"{path}: no column is named smiles; delete the file, or {REMEDY}")
        kinds = csv.ConvertOptions(column_types={"smiles": pa.string()}, include_columns=["smiles"])
        with Decompressed(path) as stream:
            smiles = csv.read_csv(stream, csv.ReadOptions(use_threads=False), convert_options=kinds).column("smiles")
    if len(smiles) != graphs:
        raise DataError(f"{path}: {len(smiles):,} molecules, but num-node-list has {graphs:,} rows; {REMEDY}")
    named = tuple(name for name in names if name not in ("smiles", "mol_id"))
    return smiles.fill_null("").to_numpy().astype(object), named if len(named) == tasks else numbers
