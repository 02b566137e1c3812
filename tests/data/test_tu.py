import numpy as np
import pytest
from together import together

from widebasin.data import DataError, ragged_graphs, tu_graphs

# Ten graphs, a path of three nodes and a single node in turn, every edge in both directions.
GRAPH_OF = [graph for graph in range(1, 11) for _ in range(3 if graph % 2 else 1)]
PATHS = [GRAPH_OF.index(graph) + 1 for graph in range(1, 11, 2)]
PAIRS = [pair for a in PATHS for pair in ((a, a + 1), (a + 1, a), (a + 1, a + 2), (a + 2, a + 1))]
FILES = {
    "A": "".join(f"{a}, {b}\n" for a, b in PAIRS),
    "graph_indicator": "".join(f"{graph}\n" for graph in GRAPH_OF),
    "graph_labels": "".join(f"{1 if graph % 2 else -1}\n" for graph in range(1, 11)),
}
LABELS = "".join(f"{7 if graph % 2 else 3}\n" for graph in GRAPH_OF)
ATTRIBUTES = "".join(f"{graph / 4}, -1\n" for graph in GRAPH_OF)


def written(folder, name="DS", **changes):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, text in (FILES | changes).items():
        if text is not None:
            (folder / f"{name}_{kind}.txt").write_text(text)
    return folder


def test_every_edge_once_and_degrees_as_features(tmp_path):
    found = tu_graphs(written(tmp_path))
    assert (found.classes, found.dataset.num_classes, found.dataset.name) == ((-1, 1), 2, "DS")
    assert found.dataset.targets.tolist() == [1, 0] * 5
    assert (found.sizes.train, found.sizes.valid, found.sizes.test, found.dataset.shuffled) == (8, 1, 1, True)
    graphs = ragged_graphs(found.dataset.inputs)
    assert graphs.node_counts.tolist() == [3, 1] * 5
    assert graphs.edges.tolist() == [[0, 1], [1, 2]] * 5
    assert graphs.nodes[:4].argmax(1).tolist() == [1, 2, 1, 0]
    assert graphs.nodes.dtype == np.uint8
    assert graphs.nodes.shape == (20, 3)


@together(
    ("given", "first", "dtype"),
    [
        ({"node_labels": LABELS}, [0, 1], np.uint8),
        ({"node_attributes": ATTRIBUTES}, [0.25, -1], np.float32),
        ({"node_labels": LABELS, "node_attributes": ATTRIBUTES}, [0, 1, 0.25, -1], np.float32),
        ({"node_labels": LABELS.replace("7", "7,1").replace("3", "3,0")}, [0, 1, 0, 1], np.uint8),
    ],
    ids=["labels", "attributes", "both", "two labels"],
)
def test_features_of_nodes(tmp_path, given, first, dtype):
    nodes = tu_graphs(written(tmp_path / "-".join(given) / str(len(first)), **given)).dataset.inputs["nodes"]
    assert nodes[0, 0].tolist() == first
    assert nodes.dtype == dtype


def test_many_neighbours_are_one_feature(tmp_path, monkeypatch):
    monkeypatch.setattr("widebasin.data.tu.MOST_DEGREE", 1)
    nodes = tu_graphs(written(tmp_path)).dataset.inputs["nodes"]
    assert nodes[:2].tolist() == [[[0, 1]] * 3, [[1, 0], [0, 0], [0, 0]]]


def test_nodes_need_not_be_in_the_order_of_graphs(tmp_path):
    order = np.random.default_rng(0).permutation(20)
    number = np.argsort(order) + 1
    graph_of, labels, attributes = np.array(GRAPH_OF), LABELS.splitlines(), ATTRIBUTES.splitlines()
    changes = {
        "A": "".join(f"{number[a - 1]}, {number[b - 1]}\n" for a, b in PAIRS),
        "graph_indicator": "".join(f"{one}\n" for one in graph_of[order]),
        "node_labels": "\n".join(labels[one] for one in order),
        "node_attributes": "\n".join(attributes[one] for one in order),
    }
    mixed = tu_graphs(written(tmp_path / "mixed", **changes)).dataset.inputs
    plain = tu_graphs(written(tmp_path / "plain", node_labels=LABELS, node_attributes=ATTRIBUTES)).dataset.inputs
    np.testing.assert_array_equal(mixed["nodes"], plain["nodes"])  # nodes of a graph are alike
    np.testing.assert_array_equal(mixed["sizes"], plain["sizes"])
    assert (ragged_graphs(mixed).edge_counts == ragged_graphs(plain).edge_counts).all()


DAMAGE = [
    ({"A": None}, r"must contain one file named \*_A\.txt, found none"),
    ({"graph_labels": None}, "DS_graph_labels.txt: the file is missing; unpack the archive again"),
    ({"graph_indicator": None}, "DS_graph_indicator.txt: the file is missing"),
    ({"graph_labels": "1\n" * 10}, "DS_graph_labels.txt: at least two different labels are needed"),
    ({"graph_labels": ""}, "DS_graph_labels.txt: at least two different labels are needed"),
    ({"graph_labels": "1\n2\n", "graph_indicator": "1\n2\n", "A": ""}, "2 graphs; at least 10 are needed"),
    ({"graph_labels": "0.5\n1\n"}, "DS_graph_labels.txt: row 1, column 1: invalid value '0.5'; it must be a whole num"),
    ({"graph_indicator": FILES["graph_indicator"] + "11\n"}, "row 21 is graph 11, but only graphs 1 to 10 have labels"),
    ({"graph_indicator": "0\n"}, "DS_graph_indicator.txt: row 1 is graph 0"),
    ({"A": "1, 21\n"}, "DS_A.txt: row 1 joins 1 and 21, but nodes are numbered 1 to 20"),
    ({"A": "1, 2\n0, 1\n"}, "DS_A.txt: row 2 joins 0 and 1"),
    ({"A": "1, 2\n3, 4\n"}, "DS_A.txt: row 2 joins a node of graph 1 to one of graph 2; both must be"),
    ({"A": "1, 2, 3\n"}, "DS_A.txt: 3 columns instead of 2"),
    ({"A": "1, x\n"}, "DS_A.txt: row 1, column 2: invalid value 'x'"),
    ({"A": "1, 2\n3\n"}, "DS_A.txt: .*Row #2: Expected 2 columns, got 1"),
    ({"node_labels": "1\n2\n"}, "DS_node_labels.txt: 2 rows, but the graph indicator has 20"),
    ({"node_labels": "".join(f"{n}\n" for n in range(20))}, "20 different labels; at most 10 are supported"),
    ({"node_attributes": "1\n"}, "DS_node_attributes.txt: 1 rows, but the graph indicator has 20"),
    ({"node_attributes": "1\n" * 19 + "inf\n"}, "DS_node_attributes.txt: row 20, column 1 is inf"),
]


def test_a_damaged_folder_is_an_error_with_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr("widebasin.data.tu.MOST_LABELS", 10)
    for number, (changes, message) in enumerate(DAMAGE):
        with pytest.raises(DataError, match=message) as error:
            tu_graphs(written(tmp_path / f"{number}", **changes))
        assert str(tmp_path) in str(error.value)


def test_files_that_changed_are_read_again(tmp_path):
    first = tu_graphs(written(tmp_path))
    assert tu_graphs(tmp_path) is first
    labels = FILES["graph_labels"].split()
    again = tu_graphs(written(tmp_path, graph_labels="\n".join(reversed(labels)) + " \n"))
    assert again.dataset.targets.tolist() == first.dataset.targets.tolist()[::-1]


def test_of_two_data_sets_in_a_folder_it_is_the_one_of_its_name(tmp_path):
    written(tmp_path / "TWO", "ONE")
    with pytest.raises(DataError, match="nowhere: cannot be read"):
        tu_graphs(tmp_path / "nowhere")
    assert tu_graphs(tmp_path / "TWO").dataset.name == "ONE"
    written(tmp_path / "TWICE", "ONE")
    written(tmp_path / "TWICE", "OTHER")
    with pytest.raises(DataError, match=r"one file named \*_A\.txt, found ONE_A\.txt, OTHER_A\.txt"):
        tu_graphs(tmp_path / "TWICE")
    written(tmp_path / "TWICE", "TWICE")
    assert tu_graphs(tmp_path / "TWICE").dataset.name == "TWICE"


@together("inside", ["MUTAG", "MUTAG/MUTAG", "."])
def test_a_data_set_is_found_by_its_name(tmp_path, monkeypatch, inside):
    root = tmp_path / f"for {len(inside)}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WIDEBASIN_DATA", str(root))
    with pytest.raises(
        DataError, match=r"MUTAG was not found; download MUTAG.zip from \S+ and unpack it into a folder MUTAG"
    ):
        tu_graphs("MUTAG")
    written(root / inside, "MUTAG")
    assert tu_graphs("MUTAG").dataset.name == "MUTAG"
