"""Molecules as graphs: atoms with the nine features of the Open Graph Benchmark, bonds as edges."""

import logging
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from widebasin.data.dataset import Dataset
from widebasin.data.errors import DataError
from widebasin.data.graphs import RaggedGraphs
from widebasin.data.splits import SplitSizes

# Number of values of every feature of an atom, by name; the last one stands for anything else, except for yes or no.
ATOM_FEATURES = {
    "atomic number": 119,
    "chirality": 5,
    "degree": 12,
    "formal charge": 12,
    "hydrogens": 10,
    "radical electrons": 6,
    "hybridization": 6,
    "aromatic": 2,
    "in ring": 2,
}
# Molecules between two reports of progress.
REPORTED = 1_000
LOGGER = logging.getLogger("widebasin")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Molecules:
    """Molecules with binary tasks, in the order train, valid, test unless the data set is shuffled.

    Attributes:
        dataset: inputs as ``PaddedGraphs``, whose features are those of ``ATOM_FEATURES``; targets int8
            ``[molecules, tasks]``, -1 where the label is missing.
        smiles: SMILES of every molecule, in the same order; empty if unknown.
        tasks: names of the tasks.
        sizes: sizes of the three parts.
        skipped: row (1 is the first below the header) and text of all rows that could not be parsed as SMILES.
    """

    dataset: Dataset
    smiles: tuple[str, ...]
    tasks: tuple[str, ...]
    sizes: SplitSizes
    skipped: tuple[tuple[int, str], ...] = ()


class ReadMolecules(NamedTuple):
    """The result of ``read_smiles``.

    Attributes:
        graphs: the molecules that could be parsed.
        rows: their indices among the SMILES.
        scaffolds: number of each one's Bemis-Murcko scaffold, from 0 as they first occur.
    """

    graphs: RaggedGraphs
    rows: Int[np.ndarray, " molecules"]
    scaffolds: Int[np.ndarray, " molecules"]


def no_progress(done: int, total: int) -> None:
    """Ignores the progress."""


def read_smiles(smiles: Sequence[str], progress: Progress = no_progress) -> ReadMolecules:
    """Graphs and scaffolds of molecules, about 1,000 in a second.

    The nine features of an atom are indices: atomic number less 1; chirality none, clockwise, counterclockwise, other;
    degree with hydrogens, 0 to 10; formal charge, -5 to 5; number of hydrogens, 0 to 8; radical electrons, 0 to 4;
    hybridization sp, sp2, sp3, sp3d, sp3d2; aromatic; in a ring. What is not among them has the last index, such as 118
    for a wildcard atom. A scaffold is rings and what joins them, without chirality; all molecules without
    rings have the same, empty one. Texts that cannot be parsed, or have no atoms, are left out.

    Args:
        smiles: SMILES of the molecules.
        progress: called with the number of molecules done and their total.

    Raises:
        DataError: if rdkit is not installed.

    Source: Hu et al. 2020, "Open Graph Benchmark" (arXiv 2005.00687); Bemis and Murcko 1996.
    """
    chem, base = _rdkit()
    hybridizations = {
        kind: index
        for index, kind in enumerate(
            getattr(chem.HybridizationType, name) for name in ("SP", "SP2", "SP3", "SP3D", "SP3D2")
        )
    }
    nodes, edges, node_counts, edge_counts, rows, scaffolds = (array(code) for code in "Biiiqi")
    numbers: dict[str, int] = {}
    with base.BlockLogs():
        for row, text in enumerate(smiles):
            if row % REPORTED == 0:
                progress(row, len(smiles))
            molecule = chem.MolFromSmiles(text)
            if molecule is None or not molecule.GetNumAtoms():
                continue
            for atom in molecule.GetAtoms():
                nodes.extend(_features(atom, hybridizations))
            for bond in molecule.GetBonds():
                edges.extend((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
            node_counts.append(molecule.GetNumAtoms())
            edge_counts.append(molecule.GetNumBonds())
            rows.append(row)
            scaffolds.append(numbers.setdefault(_scaffold(chem, molecule), len(numbers)))
    progress(len(smiles), len(smiles))
    graphs = RaggedGraphs(
        np.asarray(nodes).reshape(-1, len(ATOM_FEATURES)),
        np.asarray(node_counts),
        np.asarray(edges).reshape(-1, 2),
        np.asarray(edge_counts),
    )
    return ReadMolecules(graphs, np.asarray(rows), np.asarray(scaffolds))


def fingerprints(smiles: Iterable[str], radius: int = 2, bits: int = 2_048) -> Any:
    """Morgan fingerprints of molecules: a sparse matrix (CSR) of float32 ``[molecules, bits]``, 0 or 1.

    Raises:
        DataError: if rdkit is not installed.
        ValueError: if a text cannot be parsed as SMILES.

    Source: Rogers and Hahn 2010, "Extended-connectivity fingerprints".
    """
    from scipy.sparse import csr_array

    chem, base = _rdkit()
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    generator = GetMorganGenerator(radius=radius, fpSize=bits)
    columns, ends = array("i"), array("i", [0])
    with base.BlockLogs():
        for text in smiles:
            molecule = chem.MolFromSmiles(text)
            if molecule is None:
                raise ValueError(f"{text!r} could not be parsed as SMILES; leave it out")
            columns.extend(generator.GetFingerprint(molecule).GetOnBits())
            ends.append(len(columns))
    ones = np.ones(len(columns), np.float32)
    return csr_array((ones, np.asarray(columns), np.asarray(ends)), shape=(len(ends) - 1, bits))


def scaffold_split(scaffolds: Int[np.ndarray, " molecules"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test rows: 80, 10 and 10 percent, with no scaffold in two parts.

    Scaffolds are assigned from the one with the most molecules to the one with the fewest; among equals, the one whose
    first molecule comes last goes first. A scaffold goes into the training part if all its molecules still fit there,
    else into the validation part if they fit there, else into the test part.

    Args:
        scaffolds: number of the scaffold of every molecule.

    Source: Wu et al. 2018, "MoleculeNet" (arXiv 1703.00564).
    """
    _, first, inverse, counts = np.unique(scaffolds, return_index=True, return_inverse=True, return_counts=True)
    by_scaffold = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    # In whole numbers (hundredths), so that rounding plays no role.
    rooms = (80 * len(scaffolds), 90 * len(scaffolds))
    train, valid, test = [], [], []
    trained = validated = 0
    for group in np.lexsort((first, counts))[::-1]:
        rows = by_scaffold[group]
        if 100 * (trained + len(rows)) <= rooms[0]:
            train.append(rows)
            trained += len(rows)
        elif 100 * (trained + validated + len(rows)) <= rooms[1]:
            valid.append(rows)
            validated += len(rows)
        else:
            test.append(rows)
    none = np.zeros(0, np.int64)
    return np.concatenate([none, *train]), np.concatenate([none, *valid]), np.concatenate([none, *test])


def parts_of_tenths(examples: int) -> SplitSizes:
    """Sizes of a split into 80, 10 and 10 percent; the remainder goes into the training part."""
    tenth = examples // 10
    return SplitSizes(examples - 2 * tenth, tenth, tenth)


def _rdkit() -> tuple[Any, Any]:
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise DataError('reading SMILES needs rdkit, which is not installed: pip install "widebasin[mol]"') from error
    return Chem, rdBase


def _features(atom: Any, hybridizations: dict[Any, int]) -> tuple[int, ...]:
    """The index of every feature of an atom, see ``read_smiles``."""
    number, charge = atom.GetAtomicNum(), atom.GetFormalCharge()
    return (
        number - 1 if 1 <= number <= 118 else 118,
        min(int(atom.GetChiralTag()), 4),
        min(atom.GetTotalDegree(), 11),
        charge + 5 if -5 <= charge <= 5 else 11,
        min(atom.GetTotalNumHs(), 9),
        min(atom.GetNumRadicalElectrons(), 5),
        hybridizations.get(atom.GetHybridization(), 5),
        int(atom.GetIsAromatic()),
        int(atom.IsInRing()),
    )


def _scaffold(chem: Any, molecule: Any) -> str:
    from rdkit.Chem.Scaffolds import MurckoScaffold

    return chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(molecule), isomericSmiles=False)
