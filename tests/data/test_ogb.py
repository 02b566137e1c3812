import gzip
import shutil

import numpy as np
import pytest
from together import together

from widebasin.data import DataError, ogb_molecules, ogbg_molpcba, ragged_graphs

COUNTS, EDGES = [2, 1, 3, 2], [(0, 1), (0, 2), (2, 1), (0, 1)]
FEATURES = np.arange(72).reshape(8, 9) % 2
LABELS = "1.0,\n0.0,0.0\n,1.0\n,\n"
FILES = {
    "raw/num-node-list": "2\n1\n3\n2\n",
    "raw/num-edge-list": "1\n0\n2\n1\n",
    "raw/edge": "0,1\n0,2\n2,1\n0,1\n",
    "raw/node-feat": "".join(",".join(map(str, row)) + "\n" for row in FEATURES),
    "raw/edge-feat": "0,0,0\n" * 4,
    "raw/graph-label": LABELS,
    "split/scaffold/train": "3\n0\n",
    "split/scaffold/valid": "1\n",
    "split/scaffold/test": "2\n",
    "mapping/mol": "first,second,smiles,mol_id\n1.0,,CO,A\n0.0,0.0,C,B\n,1.0,CCC,C\n,,CN,D\n",
}


def written(folder, compressed=True, **changes):
    """A folder as it is unpacked, with some files of another content, or none where it is ``None``."""
    for name, text in FILES.items():
        text = changes.get(name.split("/")[-1].replace("-", "_"), text)
        if text is None:
            continue
        path = folder / f"{name}.csv{'.gz' if compressed else ''}"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(content) if compressed and isinstance(text, str) else content)
    return folder


@together("compressed", [True, False])
def test_graphs_in_the_order_of_the_parts(tmp_path, compressed):
    found = ogb_molecules(written(tmp_path / f"ogbg_molmade{compressed}", compressed))
    assert (found.sizes.train, found.sizes.valid, found.sizes.test) == (2, 1, 1)
    assert found.smiles == ("CN", "CO", "C", "CCC")
    assert found.tasks == ("first", "second")
    assert found.dataset.targets.tolist() == [[-1, -1], [1, -1], [0, 0], [-1, 1]]
    graphs = ragged_graphs(found.dataset.inputs)
    assert graphs.node_counts.tolist() == [2, 2, 1, 3]
    assert graphs.edges.tolist() == [[0, 1], [0, 1], [0, 2], [1, 2]]
    np.testing.assert_array_equal(graphs.nodes, FEATURES[[6, 7, 0, 1, 2, 3, 4, 5]])
    kinds = {name: array.dtype for name, array in found.dataset.inputs.items()} | {
        "targets": found.dataset.targets.dtype
    }
    assert kinds == {"nodes": np.uint8, "edges": np.int16, "sizes": np.int32, "targets": np.int8}
    assert (found.dataset.fixed_valid, found.dataset.fixed_test) == (found.sizes.valid, found.sizes.test)


def test_without_a_mapping_tasks_have_numbers(tmp_path):
    found = ogb_molecules(written(tmp_path, mol=None))
    assert (found.smiles, found.tasks) == ((), ("task 1", "task 2"))
    renamed = written(tmp_path / "other", mol="smiles\nC\nC\nC\nC\n")
    assert ogb_molecules(renamed).tasks == ("task 1", "task 2")


def test_one_task_with_missing_labels_and_no_edges(tmp_path):
    found = ogb_molecules(written(tmp_path, graph_label="1\n\n0\n1\n", edge="", num_edge_list="0\n0\n0\n0\n", mol=None))
    assert found.dataset.targets.tolist() == [[1], [1], [-1], [0]]
    assert found.dataset.inputs["edges"].shape == (4, 0, 2)


DAMAGE = [
    ({"edge": None}, "raw: edge.csv.gz is missing; unpack the archive again"),
    ({"node_feat": None}, "raw: node-feat.csv.gz is missing"),
    ({"graph_label": None}, "raw: graph-label.csv.gz is missing"),
    ({"valid": None}, "scaffold: valid.csv.gz is missing"),
    ({"num_node_list": "2\n1\n3\n"}, "num-edge-list.csv.gz: 4 rows, but num-node-list has 3"),
    ({"num_node_list": "2\n1\n3\n3\n"}, "raw: there are 8 nodes, but the counts of the 4 graphs add up to 9"),
    ({"num_node_list": "2\n1\n-3\n2\n"}, "graph 2 has -3 nodes"),
    ({"num_edge_list": "1\n0\n2\n2\n"}, "raw: there are 4 edges, but the counts of the 4 graphs add up to 5"),
    ({"num_edge_list": "1\n0\n2\nx\n"}, "num-edge-list.csv.gz: row 4, column 1: invalid value 'x'"),
    ({"num_edge_list": "1,0\n"}, "num-edge-list.csv.gz: 2 columns instead of 1"),
    ({"edge": "0,1\n0,2\n3,1\n0,1\n"}, "edge 1 of graph 2 joins 3 and 1, but its nodes are numbered 0 to 2"),
    ({"edge": "0,1\n0,2\n2,1\n0\n"}, "edge.csv.gz: .*Row #4: Expected 2 columns, got 1"),
    ({"edge": ""}, "there are 0 edges, but the counts of the 4 graphs add up to 4"),
    ({"edge": "0,1\n0,99999\n2,1\n0,1\n"}, "edge.csv.gz: row 2, column 2: invalid value '99999'"),
    ({"graph_label": "1,\n0,0\n,1\n"}, "graph-label.csv.gz: 3 rows, but num-node-list has 4"),
    (
        {"graph_label": "1,\n0,0.5\n,1\n,\n"},
        "graph-label.csv.gz: row 2, column 2 is 0.5; labels must be 0, 1 or missing",
    ),
    ({"graph_label": "1,\n0,inf\n,1\n,\n"}, "graph-label.csv.gz: row 2, column 2 is inf"),
    (
        {"node_feat": FILES["raw/node-feat"].replace("1,0", "200,0", 1)},
        r"row 1, column 2 \(chirality\) is 200; it must",
    ),
    ({"node_feat": "0,0,0\n" * 8}, "node-feat.csv.gz: 3 columns instead of 9"),
    ({"train": "3\n4\n"}, "train.csv.gz: row 4 is named, but graphs are numbered 0 to 3"),
    ({"train": "3\n-1\n"}, "train.csv.gz: row -1 is named"),
    ({"train": "3\n1\n"}, "scaffold: graph 0 is named 0 times; it must be named once"),
    ({"train": "3\n0\n1\n"}, "scaffold: graph 1 is named 2 times"),
    ({"test": ""}, "test.csv.gz: the file is empty"),
    ({"mol": "smiles\nC\n"}, "mol.csv.gz: 1 molecules, but num-node-list has 4 rows"),
    ({"mol": "text\nC\n"}, "mol.csv.gz: no column is named smiles"),
    ({"mol": ""}, "mol.csv.gz: cannot be read as comma-separated values"),
]


def test_a_damaged_folder_is_an_error_with_its_file(tmp_path):
    for number, (changes, message) in enumerate(DAMAGE):
        with pytest.raises(DataError, match=message) as error:
            ogb_molecules(written(tmp_path / f"{number}", **changes))
        assert str(tmp_path) in str(error.value)


@together("name", FILES)
def test_a_truncated_file_is_an_error(tmp_path, name):
    folder = written(tmp_path / name.replace("/", "-"))
    path = folder / f"{name}.csv.gz"
    path.write_bytes(path.read_bytes()[:-9])
    if name == "raw/edge-feat":
        assert len(ogb_molecules(folder).dataset) == 4
        return
    with pytest.raises(DataError, match=f"{name}.csv.gz: "):
        ogb_molecules(folder)


@together("inside", ["ogbg_molpcba", "pcba", "data/pcba", "ogbg_molpcba/pcba", "."])
def test_molpcba_is_found_in_the_data_folder(tmp_path, monkeypatch, inside):
    root = tmp_path / f"for {len(inside)}"
    written(root / inside)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WIDEBASIN_DATA", str(root / "data" if inside.startswith("data") else root))
    assert len(ogbg_molpcba().dataset) == 4
    shutil.rmtree(root)
    with pytest.raises(
        DataError, match=r"ogbg_molpcba was not found; download https://\S+pcba.zip and unpack it into a folder"
    ):
        ogbg_molpcba()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"nowhere/raw: num-node-list.csv.gz is missing"):
        ogb_molecules(tmp_path / "nowhere")
