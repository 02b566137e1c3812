import gzip
import logging

import numpy as np
import pytest
from data.files import needs_data, real_file
from together import together

from widebasin.data import DataError, molecule_table, ragged_graphs
from widebasin.data.molecules import read_smiles

# Ten rings of different sizes, five of which occur more than once.
SMILES = [f"C1{'C' * (3 + n % 10)}1{'O' * (n // 10)}" for n in range(20)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "widebasin" / "graphs"


@pytest.fixture
def rdkit():
    return pytest.importorskip("rdkit", reason="rdkit is not installed")


def rows(smiles=SMILES, **columns):
    """A table with two tasks, an id and a text, and other columns."""
    names = ["mol_id", "smiles", "a", "note", "b", *columns]
    lines = [
        ",".join(
            [
                f"M{n}",
                text,
                f"{n % 2}.0",
                "CI" if n % 3 else "",
                ["", "1", "0"][n % 3],
                *(str(v[n]) for v in columns.values()),
            ]
        )
        for n, text in enumerate(smiles)
    ]
    return "\n".join([",".join(names), *lines]) + "\n"


def written(folder, text=None, name="mine.csv"):
    content = (rows() if text is None else text).encode() if not isinstance(text, bytes) else text
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@together("name", ["mine.csv", "mine.csv.gz"])
def test_molecules_in_the_order_of_the_parts(tmp_path, rdkit, name):
    found = molecule_table(written(tmp_path, name=name))
    assert (found.dataset.name, found.tasks, found.skipped, found.dataset.fixed_test) == (
        "mine",
        ("a", "b"),
        (),
        found.sizes.test,
    )
    assert (found.sizes.train, found.sizes.valid, found.sizes.test) == (16, 2, 2)
    numbers = [SMILES.index(one) for one in found.smiles]
    assert sorted(numbers) == list(range(20))
    assert found.dataset.targets.tolist() == [[n % 2, [-1, 1, 0][n % 3]] for n in numbers]
    assert found.dataset.targets.dtype == np.int8
    scaffolds = [n % 10 for n in numbers]
    assert not set(scaffolds[:16]) & set(scaffolds[16:18])
    assert not set(scaffolds[:18]) & set(scaffolds[18:])
    for array, wanted in zip(ragged_graphs(found.dataset.inputs), read_smiles(found.smiles).graphs, strict=True):
        if array.shape[1:] != (2,):
            np.testing.assert_array_equal(array, wanted)


def test_by_chance_they_stay_in_the_order_of_the_file(tmp_path, rdkit):
    found = molecule_table(written(tmp_path), split="random")
    assert found.smiles == tuple(SMILES)
    assert (found.dataset.fixed_valid, found.dataset.fixed_test) == (0, 0)
    assert (found.sizes.train, found.sizes.valid, found.sizes.test) == (16, 2, 2)
    with pytest.raises(ValueError, match="split must be scaffold or random, got 'time'"):
        molecule_table(tmp_path / "mine.csv", split="time")


def test_false_and_true_are_labels_where_no_column_has_0_and_1_and_other_columns_are_named(tmp_path, rdkit, caplog):
    """As in MoleculeNet's tables, whose rdkit_pass tells whether a SMILES could be parsed."""
    names = "smiles,a,rdkit_pass,number,empty\n"
    lines = [f"{smiles},{n % 2},{n % 3 == 0},{n},\n" for n, smiles in enumerate(SMILES)]
    found = molecule_table(written(tmp_path, names + "".join(lines)), split="random")
    assert found.tasks == ("a",)
    assert "'rdkit_pass', 'number', 'empty' left out: only columns of 0, 1 and missing values count" in caplog.text
    lines = [f"{smiles},{n + 2},{n % 3 == 0},{n},\n" for n, smiles in enumerate(SMILES)]
    found = molecule_table(written(tmp_path, names + "".join(lines)), split="random")
    assert found.tasks == ("rdkit_pass",)
    np.testing.assert_array_equal(found.dataset.targets[:4, 0], [1, 0, 0, 1])


def test_what_is_no_molecule_is_said_and_kept(tmp_path, rdkit, caplog):
    wrong = ["no", "", "c1cc", "Q"]
    found = molecule_table(written(tmp_path, rows([*SMILES[:5], *wrong, *SMILES[5:]])), split="random")
    assert found.skipped == ((6, "no"), (7, ""), (8, "c1cc"), (9, "Q"))
    assert (
        "4 of 24 rows could not be parsed as SMILES and are left out: row 6 'no', row 7 '', row 8 'c1cc' and 1 more"
        in caplog.text
    )
    assert len(found.dataset) == len(found.smiles) == 20
    assert found.dataset.targets[5].tolist() == [1, -1]  # of row 9


def test_columns_by_name(tmp_path, rdkit):
    path = written(tmp_path, rows(SMILES=SMILES).replace("smiles", "structure", 1))
    assert molecule_table(path).tasks == ("a", "b")
    assert molecule_table(path, smiles="structure", tasks=["b"]).tasks == ("b",)
    named = molecule_table(path, tasks=["b", "a"])
    assert named.tasks == ("b", "a")
    np.testing.assert_array_equal(named.dataset.targets, molecule_table(path).dataset.targets[:, ::-1])


def test_graphs_are_kept_by_the_content_of_the_file(tmp_path, cache, rdkit, monkeypatch):
    path = written(tmp_path)
    first = molecule_table(path)
    (kept,) = cache.glob("*.npz")
    monkeypatch.setattr("widebasin.data.molecule_tables.read_smiles", None)
    path.rename(tmp_path / "other.csv")
    again = molecule_table(tmp_path / "other.csv")
    assert (again.dataset.digest(), again.smiles) == (first.dataset.digest(), first.smiles)
    written(tmp_path, rows().replace("1O", "1N"))
    with pytest.raises(TypeError):
        molecule_table(path)
    assert list(cache.glob("*.npz")) == [kept]


@together("damage", ["cut", "bit", "empty", "rows", "counts", "pickle"])
def test_a_damaged_cache_is_replaced(tmp_path, cache, rdkit, damage):
    path = written(tmp_path)
    first = molecule_table(path).dataset.digest()
    (kept,) = cache.glob("*.npz")
    content = kept.read_bytes()
    arrays = dict(np.load(kept))
    if damage in ("rows", "counts"):
        name = {"rows": "rows", "counts": "node_counts"}[damage]
        np.savez(kept, **arrays | {name: arrays[name] + 1})
    elif damage == "pickle":
        np.savez(kept, **arrays | {"nodes": np.array([None, {}])})
    else:
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        kept.write_bytes({"cut": content[: len(content) // 2], "bit": changed, "empty": b""}[damage])
    assert molecule_table(path).dataset.digest() == first
    for name, array in np.load(kept).items():
        np.testing.assert_array_equal(array, arrays[name])


def test_a_cache_of_another_version_is_not_read(tmp_path, cache, rdkit, monkeypatch):
    path = written(tmp_path)
    molecule_table(path)
    monkeypatch.setattr("widebasin.data.molecule_tables.VERSION", 2)
    molecule_table(path)
    assert len(list(cache.glob("*.npz"))) == 2


BAD = {
    "": "is empty",
    "\n \n": "is empty",
    "smiles,a\n": "has the columns 'smiles', 'a', but no rows",
    "text,a\nCC,1\n": "no column is named smiles; rename the column with SMILES, or give smiles= in Python; the ",
    "smiles,SMILES,a\nCC,CC,1\n": "several columns are named smiles, 'smiles', 'SMILES'; rename the column",
    "smiles,a,a\nCC,1,0\n": "several columns are named 'a'; give every column a different name",
    "smiles,a\nCC,2\n": "no column has only 0, 1 and missing values, so there is no task; the columns are 'a'; write",
    "smiles,a\nCC,\n": "no column has only 0, 1 and missing values",
    "smiles\nCC\n": "no column has only 0, 1",
    "smiles,a\nCC,1\nC\n": "Row #3: Expected 2 columns, got 1",
    "smiles,a\nCC,1\nC,1,0\n": "Row #3: Expected 2 columns, got 3",
    b"smiles,a\nCC,1\n\xe9,1\n": "is not UTF-8 text .*column #0.*Row #3.*; save the file in UTF-8",
    b"smiles,\xe9\nCC,1\n": "the first line is not UTF-8 text; save the file in UTF-8",
}


@together("text", BAD)
def test_what_is_no_table_of_molecules_is_an_error(tmp_path, text):
    with pytest.raises(DataError, match=BAD[text]) as error:
        molecule_table(written(tmp_path, text))
    assert str(error.value).startswith(f"{tmp_path / 'mine.csv'}: ")


@together(
    ("given", "message"),
    [
        ({"smiles": "x"}, "there is no column 'x'; the columns are 'mol_id', 'smiles'"),
        ({"tasks": ["a", "c"]}, "there is no task 'c'; the columns are 'mol_id', 'a', 'note', 'b'"),
        ({"tasks": ["smiles"]}, "there is no task 'smiles'"),
        ({"tasks": []}, "the list of tasks is empty"),
        ({"tasks": ["note"]}, "row 2 of column 'note' is 'CI'; a task may contain only 0, 1 and missing values"),
    ],
)
def test_columns_that_are_not_there_are_named(tmp_path, given, message):
    with pytest.raises(DataError, match=message):
        molecule_table(written(tmp_path), **given)


@together("share", [0.02, 0.5, 0.95])
def test_a_truncated_file_is_an_error(tmp_path, share):
    content = gzip.compress(rows(SMILES * 20).encode())
    path = tmp_path / "mine.csv.gz"
    path.write_bytes(content[: max(3, int(share * len(content)))])
    with pytest.raises(DataError, match=r"mine\.csv\.gz: "):
        molecule_table(path)


def test_other_files_are_errors(tmp_path):
    for name, message in ((".", "not a file but a folder"), ("nowhere.csv", "cannot be read .No such file")):
        with pytest.raises(DataError, match=message):
            molecule_table(tmp_path / name)


def test_a_part_without_molecules_is_an_error(tmp_path, rdkit):
    with pytest.raises(DataError, match=r"20 molecules with 1 scaffold has 0 for training, .*split=.random"):
        molecule_table(written(tmp_path, rows(["CCO"] * 20)))
    with pytest.raises(DataError, match=r"random split of 9 molecules .* at least 10 molecules are needed"):
        molecule_table(written(tmp_path, rows(["CCO"] * 9)), split="random")
    with pytest.raises(DataError, match="no text of column note could be parsed as SMILES"):
        molecule_table(written(tmp_path, rows(SMILES).replace("CI", "no")), smiles="note")


def test_many_molecules_are_announced(tmp_path, rdkit, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="widebasin")
    monkeypatch.setattr("widebasin.data.molecule_tables.FEW", 10)
    heard = []
    molecule_table(written(tmp_path), progress=lambda done, total: heard.append((done, total)))
    assert "reading 20 molecules, about 1,000 per second; the result is cached" in caplog.text
    assert heard == [(0, 20), (20, 20)]


# Rows, those that are no molecule, and tasks.
PUBLISHED = {"tox21": (7_831, 8, 12), "HIV": (41_127, 7, 1), "muv": (93_127, 0, 17)}


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_what_moleculenet_publishes(name, rdkit):
    rows, invalid, tasks = PUBLISHED[name]
    found = molecule_table(real_file(f"mol/{name}.csv.gz"))
    assert len(found.skipped) == invalid
    assert len(found.dataset) == rows - invalid
    assert len(found.tasks) == tasks
    if name == "HIV":
        assert found.tasks == ("HIV_active",)
    sizes = np.array([found.sizes.train, found.sizes.valid, found.sizes.test]) / len(found.dataset)
    np.testing.assert_allclose(sizes, [0.8, 0.1, 0.1], atol=1e-3)
