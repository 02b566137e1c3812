import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from widebasin.data import ATOM_FEATURES, DataError, scaffold_split
from widebasin.data.molecules import fingerprints, parts_of_tenths, read_smiles

ASPIRIN, CAFFEINE = "CC(=O)Oc1ccccc1C(=O)O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O"


def features(smiles):
    """The features of the atoms by name."""
    pytest.importorskip("rdkit", reason="rdkit is not installed")
    graphs = read_smiles([smiles]).graphs
    return dict(zip(ATOM_FEATURES, graphs.nodes.T.tolist(), strict=True)), graphs.edges.tolist()


def test_aspirin():
    """By hand, atom by atom: methyl, carbonyl, ester, six of the ring, carboxyl."""
    atoms, bonds = features(ASPIRIN)
    assert atoms == {
        "atomic number": [5, 5, 7, 7, 5, 5, 5, 5, 5, 5, 5, 7, 7],
        "chirality": [0] * 13,
        "degree": [4, 3, 1, 2, 3, 3, 3, 3, 3, 3, 3, 1, 2],
        "formal charge": [5] * 13,
        "hydrogens": [3, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1],
        "radical electrons": [0] * 13,
        "hybridization": [2] + [1] * 12,
        "aromatic": [0] * 4 + [1] * 6 + [0] * 3,
        "in ring": [0] * 4 + [1] * 6 + [0] * 3,
    }
    chain = [(0, 1), (1, 2), (1, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 9), (9, 10), (10, 11), (10, 12)]
    assert sorted(tuple(sorted(bond)) for bond in bonds) == sorted([*chain, (4, 9)])


def test_caffeine_has_a_ring_of_six_and_one_of_five():
    atoms, bonds = features(CAFFEINE)
    assert (len(atoms["in ring"]), sum(atoms["in ring"]), sum(atoms["aromatic"])) == (14, 9, 9)
    assert len(bonds) == 14 + 2 - 1
    assert sorted(atoms["atomic number"]) == [5] * 8 + [6] * 4 + [7] * 2


@together(
    ("smiles", "name", "values"),
    [
        ("[Na+].[Cl-]", "formal charge", [6, 4]),
        ("[Na+].[Cl-]", "atomic number", [10, 16]),
        ("[U]", "atomic number", [91]),
        ("*C", "atomic number", [118, 5]),
        ("[CH3]", "radical electrons", [1]),
        ("C", "degree", [4]),
        ("C", "hydrogens", [4]),
        ("N[C@@H](C)O", "chirality", [0, 1, 0, 0]),
        ("N[C@H](C)O", "chirality", [0, 2, 0, 0]),
        ("C#CC=C", "hybridization", [0, 0, 1, 1]),
        ("FS(F)(F)(F)(F)F", "hybridization", [2, 4, 2, 2, 2, 2, 2]),
        ("FP(F)(F)(F)F", "hybridization", [2, 3, 2, 2, 2, 2]),
        ("[Fe+6]", "formal charge", [11]),
        ("[Fe-5]", "formal charge", [0]),
        ("[H+]", "hybridization", [5]),
        ("C1CC1C", "in ring", [1, 1, 1, 0]),
        ("C1CC1C", "aromatic", [0, 0, 0, 0]),
    ],
)
def test_features_of_an_atom(smiles, name, values):
    assert features(smiles)[0][name] == values


@together("smiles", ["[He]", "[Na+].[Cl-]"])
def test_molecules_without_bonds(smiles):
    assert features(smiles)[1] == []


def test_what_is_no_molecule_is_left_out_without_a_word(capfd):
    pytest.importorskip("rdkit", reason="rdkit is not installed")
    heard = []
    read = read_smiles(["c1cc", "CC", "", "C(C)(C)(C)(C)C", "O", "no"], lambda done, total: heard.append((done, total)))
    assert read.rows.tolist() == [1, 4]
    assert (read.graphs.node_counts.tolist(), read.graphs.edge_counts.tolist()) == ([2, 1], [1, 0])
    assert heard == [(0, 6), (6, 6)]
    assert capfd.readouterr() == ("", "")


def test_no_molecule_at_all():
    pytest.importorskip("rdkit", reason="rdkit is not installed")
    read = read_smiles(["no"])
    assert read.graphs.nodes.shape == (0, 9)
    assert read.graphs.edges.shape == (0, 2)


def test_scaffolds_are_rings_and_what_joins_them():
    pytest.importorskip("rdkit", reason="rdkit is not installed")
    read = read_smiles(
        ["Cc1ccccc1", "CCO", "Clc1ccccc1", "c1ccc2ccccc2c1", "CC", "c1ccccc1CCC1CC1", "C[C@H]1CCCCO1", "C[C@@H]1CCCCO1"]
    )
    assert read.scaffolds.tolist() == [0, 1, 0, 2, 1, 3, 4, 4]


@given(st.lists(st.integers(0, 40), max_size=200))
def test_no_scaffold_is_in_two_parts_and_every_molecule_is_in_one(scaffolds):
    scaffolds = np.array(scaffolds, int)
    parts = scaffold_split(scaffolds)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(scaffolds)))
    groups = [set(scaffolds[part].tolist()) for part in parts]
    assert sum(map(len, groups)) == len(set(scaffolds.tolist()))
    assert 10 * len(parts[0]) <= 8 * len(scaffolds)


@given(st.lists(st.integers(0, 40), max_size=200))
def test_the_split_is_that_of_moleculenet(scaffolds):
    """Its procedure, group by group."""
    groups = {}
    for row, scaffold in enumerate(scaffolds):
        groups.setdefault(scaffold, []).append(row)
    train, valid, test = [], [], []
    for rows in sorted(groups.values(), key=lambda rows: (len(rows), rows[0]), reverse=True):
        if 10 * (len(train) + len(rows)) > 8 * len(scaffolds):
            if 10 * (len(train) + len(valid) + len(rows)) > 9 * len(scaffolds):
                test += rows
            else:
                valid += rows
        else:
            train += rows
    assert [part.tolist() for part in scaffold_split(np.array(scaffolds, int))] == [train, valid, test]


def test_fingerprints_are_those_of_rdkit():
    pytest.importorskip("rdkit", reason="rdkit is not installed")
    from rdkit import Chem
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    generator = GetMorganGenerator(radius=2, fpSize=2_048)
    expected = [generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(one)) for one in (ASPIRIN, CAFFEINE)]
    np.testing.assert_array_equal(fingerprints([ASPIRIN, CAFFEINE]).toarray(), expected)
    with pytest.raises(ValueError, match="'no' could not be parsed as SMILES"):
        fingerprints(["no"])


def test_without_rdkit_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    for read in (read_smiles, fingerprints):
        with pytest.raises(DataError, match=r'rdkit, which is not installed: pip install "widebasin\[mol\]"'):
            read(["CC"])


@given(st.integers(0, 10_000))
def test_parts_of_tenths(examples):
    sizes = parts_of_tenths(examples)
    assert sizes.train + sizes.valid + sizes.test == examples
    assert sizes.valid == sizes.test == examples // 10
