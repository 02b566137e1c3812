from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from together import together

from widebasin.data import DataError, padded_graphs, ragged_graphs

NONE = np.zeros((0, 2), int)


@st.composite
def graphs(draw):
    """Features of nodes and edges, low node first, sorted, of some graphs."""
    counts = draw(st.lists(st.integers(0, 7), max_size=6))
    nodes = [draw(st.lists(st.integers(-3, 300), min_size=n, max_size=n)) for n in counts]
    pairs = [[(a, b) for b in range(n) for a in range(b)] for n in counts]
    edges = [sorted(draw(st.sets(st.sampled_from(some), max_size=9))) if some else [] for some in pairs]
    return nodes, edges


def concatenated(nodes, edges):
    return (
        np.array(list(chain(*nodes)), int)[:, None],
        np.array([len(one) for one in nodes], int),
        np.array(list(chain(*edges)), int).reshape(-1, 2),
        np.array([len(one) for one in edges], int),
    )


@given(graphs(), st.randoms(use_true_random=False))
def test_padded_graphs_are_the_ragged_ones(given, random):
    """Whatever the order of edges and of their ends, with doubles and loops among them."""
    nodes, edges = given
    written, loops, doubles = [], 0, 0
    for one, features in zip(edges, nodes, strict=True):
        more = [random.choice(one) for _ in range(random.randint(0, 2))] if one else []
        turned = [edge[:: random.choice((1, -1))] for edge in one + more]
        turned += [(node, node) for node in range(min(len(features), random.randint(0, 2)))]
        random.shuffle(turned)
        loops += len(turned) - len(one) - len(more)
        doubles += len(more)
        written.append(turned)
    order = list(range(len(nodes)))
    random.shuffle(order)
    padded = padded_graphs(*concatenated(nodes, written), order=np.array(order, int))
    assert (padded.self_loops, padded.doubles) == (loops, doubles)
    expected = concatenated([nodes[one] for one in order], [edges[one] for one in order])
    for array, wanted in zip(ragged_graphs(padded.inputs), expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
    most = max(map(len, nodes), default=0), max(map(len, edges), default=0)
    assert (padded.inputs["nodes"].shape[:2], padded.inputs["edges"].shape[1]) == ((len(nodes), most[0]), most[1])
    assert {name: padded.inputs[name].dtype for name in ("edges", "sizes")} == {"edges": np.int16, "sizes": np.int32}


def test_what_is_padded_is_told_from_what_is_there():
    padded = padded_graphs(
        np.ones((4, 2), int), np.array([1, 0, 3]), np.array([[2, 0], [1, 2]]), np.array([0, 0, 2])
    ).inputs
    assert padded["edges"].tolist() == [[[-1, -1]] * 2] * 2 + [[[0, 2], [1, 2]]]
    assert padded["nodes"].sum(2).tolist() == [[2, 0, 0], [0, 0, 0], [2, 2, 2]]
    assert padded["sizes"].tolist() == [1, 0, 3]


@together(
    ("values", "dtype"),
    [
        ([0, 255], np.uint8),
        ([True, False], np.uint8),
        ([-1, 255], np.int16),
        ([256], np.int16),
        ([40_000], np.float32),
        ([1 << 24], np.float32),
        ([0.0, 1.0], np.float32),
        ([], np.uint8),
    ],
)
def test_features_have_the_smallest_type_that_holds_them(values, dtype):
    nodes = np.array(values, int if not values else None)[:, None]
    padded = padded_graphs(nodes, np.array([len(values)]), NONE, np.array([0])).inputs["nodes"]
    assert padded.dtype == dtype
    np.testing.assert_array_equal(padded[0], nodes)


@together(
    ("given", "message"),
    [
        ((3, [1, 1], NONE, [0, 0]), "mine: there are 3 nodes, but the counts of the 2 graphs add up to 2"),
        ((2, [1, 1], NONE, [1, 0]), "there are 0 edges, but the counts of the 2 graphs add up to 1"),
        ((2, [3, -1], NONE, [0, 0]), "graph 1 has -1 nodes; counts must be at least 0"),
        ((2, [1, 1], NONE, [0]), "2 node counts but 1 edge counts"),
        ((3, [1, 2], [[0, 0], [1, 2]], [1, 1]), "edge 0 of graph 1 joins 1 and 2, but its nodes are numbered 0 to 1"),
        ((3, [1, 2], [[0, -1]], [0, 1]), "edge 0 of graph 1 joins 0 and -1"),
        ((32_768, [32_768], NONE, [0]), "graph 0 has 32,768 nodes, but at most 32,767 fit"),
    ],
)
def test_graphs_that_do_not_fit_together_are_refused(given, message):
    nodes, *rest = given
    with pytest.raises(DataError, match=message):
        padded_graphs(np.zeros((nodes, 1)), *map(np.asarray, rest), source="mine")


@together("value", [np.nan, np.inf, 1e300, (1 << 24) + 1, -(1 << 40)])
def test_features_that_float32_does_not_hold_are_refused(value):
    with pytest.raises(DataError, match=r"node features range from .* which float32 cannot represent"):
        padded_graphs(np.array([[value], [0]]), np.array([2]), NONE, np.array([0]))


def test_texts_are_no_features():
    with pytest.raises(DataError, match="node features have the type <U1; they must be numbers"):
        padded_graphs(np.array([["a"]]), np.array([1]), NONE, np.array([0]))


def test_graphs_whose_padding_fills_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr("widebasin.data.graphs.LARGEST", 1_000)
    with pytest.raises(DataError, match=r"2 graphs padded to 600 nodes and 0 edges take 1,200 bytes, more than 1,000"):
        padded_graphs(np.zeros((601, 1), int), np.array([600, 1]), NONE, np.array([0, 0]))
