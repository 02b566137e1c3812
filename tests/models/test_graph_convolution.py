import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.networks import anywhere, close
from together import together

from widebasin.models import GraphConvolution, count_parameters

NODES, FEATURES, OUTPUTS, SCALE = 7, 3, 2, (2.0, 1.0, 5.0)
# Nodes, and edges: a tree with a ring; a path; a node alone; two nodes without an edge; nothing.
GRAPHS = [
    (7, [(0, 1), (0, 2), (1, 2), (2, 3), (3, 6), (4, 6), (5, 6)]),
    (4, [(0, 1), (1, 2), (2, 3)]),
    (1, []),
    (2, []),
    (0, []),
]


def padded(graphs=GRAPHS, more_nodes=0, more_edges=0):
    random = np.random.default_rng(0)
    nodes = random.integers(1, 9, (len(graphs), NODES + more_nodes, FEATURES)).astype(np.uint8)
    edges = np.full((len(graphs), 7 + more_edges, 2), -1, np.int16)
    for graph, (size, pairs) in enumerate(graphs):
        nodes[graph] = np.random.default_rng(graph).integers(1, 9, nodes[0].shape)
        nodes[graph, :NODES] = np.random.default_rng(graph).integers(1, 9, (NODES, FEATURES))
        nodes[graph, size:] = 0
        edges[graph, : len(pairs)] = np.array(pairs).reshape(-1, 2)
    return {"nodes": nodes, "edges": edges, "sizes": np.array([size for size, _ in graphs], np.int32)}


@settings(max_examples=10)
@given(*(st.integers(1, 9) for _ in range(4)))
def test_the_number_of_parameters(width, features, outputs, depth):
    model = eqx.filter_eval_shape(
        lambda key: GraphConvolution(width, features, outputs, depth, key=key), jax.random.key(0)
    )
    h = width
    assert count_parameters(model) == (features + 1) * h + depth * (2 * h**2 + 4 * h) + outputs * (h + 1)


def test_the_published_ladder():
    """Of ogbg-molpcba in arXiv 2311.17539."""
    for width, number in {128: 184_192, 256: 695_936, 512: 2_702_464}.items():
        build = lambda key, width=width: GraphConvolution(width, 9, 128, key=key)  # noqa: E731
        assert count_parameters(eqx.filter_eval_shape(build, jax.random.key(0))) == number


@pytest.fixture(scope="module")
def case():
    """A small network at random weights in float64, a function of graphs, and logits."""
    with jax.enable_x64(True):
        model = anywhere(lambda key: GraphConvolution(6, FEATURES, OUTPUTS, 2, SCALE, key=key))

        @jax.jit
        def logits_of(model, graphs):
            return jax.vmap(model)(graphs)

        return model, logits_of, np.asarray(logits_of(model, padded()))


def by_hand(model, nodes, pairs):
    """``x <- LayerNorm(x + D^(-1/2) (A + I) D^(-1/2) relu(W2 relu(W1 x + b1) + b2))``, and logits of the mean."""

    def linear(layer, x):
        return x @ np.asarray(layer.weight).T + np.asarray(layer.bias)

    adjacency = np.eye(len(nodes))
    for a, b in pairs:
        adjacency[a, b] = adjacency[b, a] = 1
    root = np.diag(adjacency.sum(1) ** -0.5)
    x = linear(model.first, nodes / np.array(SCALE))
    for (expand, contract), norm in zip(model.hidden, model.norms, strict=True):
        message = np.maximum(linear(contract, np.maximum(linear(expand, x), 0)), 0)
        x = x + root @ adjacency @ root @ message
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + norm.eps)
        x = x * np.asarray(norm.weight) + np.asarray(norm.bias)
    return linear(model.last, x.mean(0) if len(x) else np.zeros(x.shape[1]))


def test_logits_are_those_of_dense_matrices_over_the_nodes_that_are_there(case):
    model, _, logits = case
    for nodes, (size, pairs), found in zip(padded()["nodes"], GRAPHS, logits, strict=True):
        close(found, by_hand(model, nodes[:size].astype(float), pairs))


def test_nodes_may_have_any_order(case):
    model, logits_of, logits = case
    graphs = padded()
    for seed in range(3):
        random = np.random.default_rng(seed)
        moved = jax.tree.map(np.copy, graphs)
        for graph, (size, pairs) in enumerate(GRAPHS):
            order = random.permutation(size)
            moved["nodes"][graph, order] = graphs["nodes"][graph, :size]
            for at, edge in enumerate(random.permutation(len(pairs))):
                moved["edges"][graph, at] = order[list(pairs[edge])][:: random.choice([1, -1])]
        with jax.enable_x64(True):
            close(logits_of(model, moved), logits)


def test_padding_changes_nothing(case):
    model, logits_of, logits = case
    with jax.enable_x64(True):
        filled = padded()
        filled["nodes"][np.arange(NODES) >= filled["sizes"][:, None]] = 200
        close(logits_of(model, filled), logits)
        wide = {name: np.copy(leaf) for name, leaf in padded(more_nodes=2, more_edges=3).items()}
        wide["nodes"][:, :NODES] = padded()["nodes"]
        wide["nodes"][:, NODES:] = 33
        close(logits_of(model, wide), logits)
        # Without the places of edges, where there are none.
        few = {name: leaf[2:] for name, leaf in padded().items()}
        close(logits_of(model, few | {"edges": few["edges"][:, :0]}), logits[2:])


def test_gradients_are_finite_and_those_of_finite_differences(case):
    model, logits_of, _ = case
    random = np.random.default_rng(2)
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(lambda model, graphs: (jax.vmap(model)(graphs) ** 2).sum()))(model, padded())
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        for where in (lambda m: m.first.weight, lambda m: m.hidden[0][0].weight, lambda m: m.norms[1].weight):
            direction = random.normal(size=where(model).shape)
            sums = [
                float((logits_of(eqx.tree_at(where, model, where(model) + h * direction), padded()) ** 2).sum())
                for h in (1e-6, -1e-6)
            ]
            assert (sums[0] - sums[1]) / 2e-6 == pytest.approx(float((where(gradient) * direction).sum()), rel=1e-5)


@pytest.mark.slow
def test_dropout_needs_a_key_and_a_rate():
    model = GraphConvolution(8, FEATURES, OUTPUTS, 2, key=jax.random.key(0))
    graph = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), padded())
    call = eqx.filter_jit(lambda key, rate: model(graph, key=key, dropout=rate))
    zero, half, key = jnp.float32(0), jnp.float32(0.5), jax.random.key(1)
    expected = call(None, half)
    np.testing.assert_allclose(call(key, zero), expected, rtol=1e-5)
    assert np.abs(call(key, half) - expected).max() > 1e-4


@together(
    ("arguments", "message"),
    [
        ((0, 3, 2), "width, features, outputs and depth must be at least 1, got 0, 3, 2 and 5"),
        ((4, 3, 2, 0), "got 4, 3, 2 and 0"),
        ((4, 3, 2, 1, (1.0, 2.0)), "scale must be one number or 3, got 2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GraphConvolution(*arguments, key=jax.random.key(0))
