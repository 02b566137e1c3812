from itertools import permutations

import numpy as np
import pytest

from widebasin.data import RING_TASKS, ragged_graphs, ring_graphs
from widebasin.data.rings import MOST_DEGREE, NODES


def each(inputs):
    """Kinds and neighbours of every graph."""
    nodes, node_counts, edges, edge_counts = ragged_graphs(inputs)
    node_ends, edge_ends = np.cumsum(node_counts)[:-1], np.cumsum(edge_counts)[:-1]
    for kinds, pairs in zip(np.split(nodes[:, :-1].argmax(1), node_ends), np.split(edges, edge_ends), strict=True):
        neighbours = {node: set() for node in range(len(kinds))}
        for a, b in pairs.tolist():
            neighbours[a].add(b)
            neighbours[b].add(a)
        yield kinds, neighbours


def has_cycle(neighbours, length):
    """By trying all paths from every node."""

    def closes(path):
        if len(path) == length:
            return path[0] in neighbours[path[-1]]
        return any(closes([*path, node]) for node in neighbours[path[-1]] if node not in path)

    return any(closes([node]) for node in neighbours)


def test_labels_are_what_they_say():
    data = ring_graphs(150, missing=0.0, seed=3)
    for (kinds, neighbours), labels in zip(each(data.inputs), data.targets, strict=True):
        edges = sum(map(len, neighbours.values())) // 2
        beside = any({kinds[a], kinds[b]} == {1, 2} for a in neighbours for b in neighbours[a])
        expected = [has_cycle(neighbours, 3), has_cycle(neighbours, 5), beside, edges - len(kinds) + 1 >= 2]
        assert labels.tolist() == expected
    assert len(RING_TASKS) == 4


def test_graphs_are_connected_and_like_molecules():
    data = ring_graphs(300, seed=1)
    sizes = data.inputs["sizes"]
    assert (sizes.min(), sizes.max()) == NODES
    assert set(np.unique(data.inputs["nodes"][..., :-1].sum(-1))) == {0, 1}
    for _, neighbours in each(data.inputs):
        reached, ahead = {0}, [0]
        while ahead:
            new = neighbours[ahead.pop()] - reached
            reached |= new
            ahead += new
        assert len(reached) == len(neighbours)
        assert max(map(len, neighbours.values())) <= MOST_DEGREE


@pytest.mark.slow
def test_shares_of_positives_and_of_missing_labels():
    data = ring_graphs(20_000)
    known = data.targets >= 0
    shares = (data.targets == 1).sum(0) / known.sum(0)
    np.testing.assert_allclose(shares, [0.32, 0.36, 0.44, 0.47], atol=0.015)
    np.testing.assert_allclose(1 - known.mean(0), 0.1, atol=0.01)
    assert (data.num_classes, data.shuffled, data.targets.dtype) == (2, True, np.int8)


def test_a_seed_decides_all_and_the_share_missing_only_the_labels():
    ring_graphs.cache_clear()
    first = ring_graphs()
    ring_graphs.cache_clear()
    assert ring_graphs().digest() == first.digest()
    assert ring_graphs(seed=1).digest() != first.digest()
    whole = ring_graphs(missing=0.0)
    np.testing.assert_array_equal(whole.inputs["edges"], first.inputs["edges"])
    np.testing.assert_array_equal(np.where(first.targets < 0, -1, whole.targets), first.targets)


def test_five_cycles_of_the_complete_graph():
    """Of 5 nodes it has 12: the permutations, less the 10 ways to begin and to go around one."""
    from widebasin.data.rings import ring_tasks

    adjacency = ~np.eye(5, dtype=bool)[None]
    assert len(list(permutations(range(5)))) // 10 == 12
    assert ring_tasks(adjacency, np.zeros((1, 5), np.uint8), np.array([5])).tolist() == [[1, 1, 0, 1]]


@pytest.mark.parametrize(
    ("given", "message"),
    [({"missing": 1.0}, "missing must be at least 0 and below 1"), ({"graphs": 0}, "graphs must be at least 1")],
)
def test_what_cannot_be_drawn_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ring_graphs(**given)
