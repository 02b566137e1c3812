"""Tasks that the package does not know, each defined here alone, through the one loop: radius x seed in one program."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics
from training.tasks import Normalized, leaves, point, program_of, trained

from widebasin import sam
from widebasin.data import Dataset, SplitSizes, digits
from widebasin.statistics import Metric
from widebasin.training import CLASSIFICATION, Objective, Plan, Point, Program, Recipe, Supervised, train

GRID = [point(rho=rho, seed=seed, learning_rate=0.01, dropout=0.3) for rho in (0.0, 0.1) for seed in (0, 1)]
BATCHED, ALONE = Plan(len(GRID), "scan", "cpu"), Plan(1, "scan", "cpu")
SIZES = SplitSizes(train=48, valid=16, test=16)
GENERATOR = np.random.default_rng(0)

# Tagging: every token has a tag, sentences are filled up with token 0 of weight 0 -------------------------------------
WORDS, TAGS, LONGEST = 20, 4, 7


class Tagger(eqx.Module):
    """Embeds a word and its neighbour, with dropout whose rate is an axis of the grid."""

    embedding: jax.Array
    linear: jax.Array

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.embedding = 0.3 * jax.random.normal(first, (WORDS, 8))
        self.linear = 0.3 * jax.random.normal(second, (16, TAGS))

    def __call__(self, sentence, *, dropout, key=None):
        words = self.embedding[sentence["tokens"]] * sentence["weights"][:, None]
        before = jnp.concatenate([jnp.zeros((1, 8)), words[:-1]])
        hidden = jnp.concatenate([words, before], axis=1)
        if key is not None:
            # Drawn token by token, so that the length of the padding draws nothing else.
            keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(jnp.arange(len(hidden)))
            kept = jax.vmap(lambda one: jax.random.bernoulli(one, 1 - dropout, (16,)))(keys)
            hidden = jnp.where(kept, hidden / (1 - dropout), 0)
        return hidden @ self.linear


def tag_loss(logits, target):
    """The sum over the tokens, and how many there are."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, target["tags"])
    return jnp.sum(losses * target["weights"]), target["weights"].sum()


def tag_accuracy(logits, target):
    right = jnp.argmax(logits, axis=1) == target["tags"]
    return jnp.sum(right * target["weights"]), target["weights"].sum()


def sentences(padding, filling=0):
    lengths = np.random.default_rng(1).integers(2, LONGEST + 1, 80)
    rule = np.random.default_rng(2).integers(0, TAGS, WORDS)
    tokens = np.random.default_rng(3).integers(1, WORDS, (80, LONGEST))
    there = np.arange(LONGEST) < lengths[:, None]

    def padded(values, fill):
        return np.pad(np.where(there, values, fill), ((0, 0), (0, padding)), constant_values=fill)

    weights = padded(1, 0).astype(np.float32)
    inputs = {"tokens": padded(tokens, filling).astype(np.int32), "weights": weights}
    targets = {"tags": padded(rule[tokens], filling % TAGS).astype(np.int32), "weights": weights}
    return Dataset("sentences", inputs, targets, num_classes=None)


TAGGING = Supervised(
    build=Tagger,
    dataset=sentences(padding=0),
    sizes=SIZES,
    objective=Objective(tag_loss, {Metric("token_accuracy", True, "%", 100.0): tag_accuracy}),
    recipe=Recipe(epochs=4, batch_size=8, learning_rate=0.01, optimizer="adamw", schedule="rsqrt", clip=1.0),
    given=("dropout",),
)


# Graphs: nodes and edges filled up to the largest, labels of three tasks, some of them missing ------------------------
NODES, FEATURES, LABELS = 6, 5, 3


class GraphNetwork(eqx.Module):
    """Two rounds of messages along the edges, the mean over the nodes."""

    layers: tuple

    def __init__(self, key):
        shapes = ((FEATURES, 8), (8, 8), (8, LABELS))
        self.layers = tuple(
            0.5 * jax.random.normal(one, shape) for one, shape in zip(jax.random.split(key, 3), shapes, strict=True)
        )

    def __call__(self, graph):
        nodes, there = graph["nodes"], graph["there"]
        for layer in self.layers[:2]:
            nodes = jax.nn.relu((graph["edges"] @ nodes + nodes) @ layer) * there[:, None]
        return nodes.sum(0) / there.sum() @ self.layers[2]


def missing(values, target):
    return jnp.sum(jnp.where(target["known"], values, 0)), target["known"].sum().astype(float)


def label_loss(logits, target):
    return missing(optax.sigmoid_binary_cross_entropy(logits, target["labels"]), target)


def label_accuracy(logits, target):
    return missing(((logits > 0) == (target["labels"] > 0)).astype(float), target)


def average_precision(outputs, targets):
    """The mean over the tasks that have both classes, on the known labels."""
    found = []
    for task in range(LABELS):
        known = targets["known"][:, task]
        labels = targets["labels"][known, task]
        if 0 < labels.sum() < len(labels):
            found.append(sklearn.metrics.average_precision_score(labels, outputs[known, task]))
    return float(np.mean(found))


def graphs(unknown=0.0):
    there = np.arange(NODES) < GENERATOR.integers(2, NODES + 1, 80)[:, None]
    nodes = np.random.default_rng(4).standard_normal((80, NODES, FEATURES)).astype(np.float32) * there[..., None]
    edges = np.random.default_rng(5).random((80, NODES, NODES)) < 0.4
    edges = (edges & there[:, None] & there[..., None]).astype(np.float32)
    labels = (nodes.sum((1, 2))[:, None] + np.array([0.0, 0.5, -0.5]) > 0).astype(np.float32)
    known = np.random.default_rng(6).random(labels.shape) < 0.7
    return Dataset(
        "graphs",
        {"nodes": nodes, "edges": edges, "there": there.astype(np.float32)},
        {"labels": np.where(known, labels, np.float32(unknown)), "known": known},
        num_classes=None,
    )


MEAN_AVERAGE_PRECISION = Metric("mean_average_precision", True)
MOLECULES = Supervised(
    build=GraphNetwork,
    dataset=graphs(),
    sizes=SIZES,
    objective=Objective(
        label_loss,
        {Metric("accuracy", True, "%", 100.0): label_accuracy},
        {MEAN_AVERAGE_PRECISION: average_precision},
        judge=MEAN_AVERAGE_PRECISION,
    ),
    recipe=Recipe(epochs=4, batch_size=8, learning_rate=0.02, optimizer="adam", schedule="constant"),
)

# A model with batch normalization, by Adam ----------------------------------------------------------------------------
NORMALIZED = Supervised(
    build=Normalized,
    dataset=digits(),
    sizes=SplitSizes(train=200, valid=50, test=50),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=4, batch_size=50, learning_rate=0.01, optimizer="adam", schedule="linear", warmup_steps=3),
)

TASKS = {"tagging": TAGGING, "graphs": MOLECULES, "batch normalization": NORMALIZED}


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_as_usual")
@pytest.mark.parametrize("name", TASKS)
def test_radii_and_seeds_train_in_one_program_as_they_do_alone(name):
    problem = TASKS[name]
    program = program_of(problem, "sam", BATCHED)
    together = train(program, GRID)
    judge = problem.metrics[0].name
    assert together.history["train_loss"][:, -1].mean() < together.history["train_loss"][:, 0].mean()
    assert np.isfinite(together.history[f"valid_{judge}"]).all()
    alone = train(program_of(problem, "sam", ALONE), GRID[3:])
    for name, values in alone.history.items():
        np.testing.assert_allclose(together.history[name][3], values[0], rtol=2e-4, atol=1e-5, err_msg=name)
    sgd = train(program_of(problem, "sgd", BATCHED), [one.moved(rho=0.0) for one in GRID])
    for name, values in sgd.history.items():
        np.testing.assert_array_equal(values[:2], together.history[name][:2], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["scan", "step"])
def test_padding_changes_nothing(loop):
    """Other tokens and tags where the weight is 0: to the last bit. Three more places: the same up to rounding."""
    plan = replace(BATCHED, loop=loop)
    plain, metrics = trained(TAGGING, "sam", GRID, plan)
    filled, filled_metrics = trained(replace(TAGGING, dataset=sentences(0, filling=3)), "sam", GRID, plan)
    longer, longer_metrics = trained(replace(TAGGING, dataset=sentences(3, filling=3)), "sam", GRID, plan)
    for one, other, third in zip(leaves(plain), leaves(filled), leaves(longer), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, third, rtol=0, atol=1e-5)
    for name, values in metrics.items():
        np.testing.assert_array_equal(values, filled_metrics[name], err_msg=name)
        np.testing.assert_allclose(values, longer_metrics[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_what_fills_missing_labels_changes_nothing():
    plain, metrics = trained(MOLECULES, "sam", GRID, BATCHED)
    generator = GENERATOR.bit_generator.state
    filled, filled_metrics = trained(MOLECULES_FILLED, "sam", GRID, BATCHED)
    assert generator == GENERATOR.bit_generator.state
    for one, other in zip(leaves(plain), leaves(filled), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, values in metrics.items():
        np.testing.assert_array_equal(values, filled_metrics[name], err_msg=name)


MOLECULES_FILLED = replace(
    MOLECULES,
    dataset=replace(
        MOLECULES.dataset,
        targets={
            "labels": np.where(MOLECULES.dataset.targets["known"], MOLECULES.dataset.targets["labels"], np.float32(7)),
            "known": MOLECULES.dataset.targets["known"],
        },
    ),
)


@pytest.mark.slow
def test_metrics_equal_numpy_over_the_real_tokens_and_labels():
    for problem, judge in ((TAGGING, "token_accuracy"), (MOLECULES, "mean_average_precision")):
        one = GRID[3]
        state, metrics = trained(problem, "sam", [one], ALONE, epochs=2)
        model = eqx.combine(jax.tree.map(lambda leaf: leaf[0], state.params), problem.network.static)
        examples = problem.examples_of(one)
        given = {"dropout": jnp.float32(0.3)} if problem is TAGGING else {}
        for part, at in (("valid", examples.valid), ("test", examples.test)):
            inputs, targets = jax.tree.map(
                lambda leaf, at=at: leaf[np.asarray(at)], (problem.dataset.inputs, problem.dataset.targets)
            )
            outputs = np.asarray(jax.vmap(lambda x: model(x, **given))(inputs))  # noqa: B023
            if problem is TAGGING:
                there = targets["weights"] > 0
                expected = np.mean((outputs.argmax(-1) == targets["tags"])[there])
                losses = optax.softmax_cross_entropy_with_integer_labels(outputs, targets["tags"])
                assert metrics[f"{part}_loss"][0] == pytest.approx(float(np.mean(np.asarray(losses)[there])), rel=1e-5)
            else:
                expected = average_precision(outputs, targets)
            assert metrics[f"{part}_{judge}"][0] == pytest.approx(expected, rel=1e-5), part


@pytest.mark.slow
def test_a_mask_of_snip_sees_what_the_model_is_given_whatever_its_company():
    points = [GRID[3].moved(dropout=rate, sparsity=0.5, pruner="snip") for rate in (0.0, 0.6)]

    def masks(points, at_once):
        program = program_of(TAGGING, "sam", Plan(at_once, "scan", "cpu"))
        return [np.asarray(leaf) for leaf in jax.tree.leaves(program.start(points)[2].mask)]

    together = masks(points, 2)
    for position, one in enumerate(points):
        for mask, alone in zip(together, masks([one], 1), strict=True):
            np.testing.assert_array_equal(mask[position], alone[0])
    assert any((mask[0] != mask[1]).any() for mask in together)


@pytest.mark.slow
def test_a_diverged_network_does_not_stop_the_metrics_of_the_others():
    """scikit-learn refuses what is not a number."""
    wild = [GRID[3], GRID[3].moved(learning_rate=1e30)]
    recipe = replace(MOLECULES.recipe, optimizer="sgd", epochs=2)
    trained_both = train(
        Program(replace(MOLECULES, recipe=recipe), sam.METHODS["sam"].with_radius, Plan(2, "scan", "cpu")), wild
    )
    assert trained_both.diverged_epoch.tolist()[0] == 0
    assert trained_both.diverged_epoch[1] > 0
    assert np.isfinite(trained_both.history["valid_mean_average_precision"][0]).all()


@pytest.mark.slow
def test_groups_of_unequal_weight_have_the_weighted_mean_of_their_gradients():
    """Without normalization, the step of m-sharpness is the weighted mean of the groups' own; against loops by hand."""
    one = GRID[3].moved(rho=0.5, dropout=0.0)
    recipe = replace(
        TAGGING.recipe, optimizer="sgd", momentum=0.0, clip=None, schedule="constant", epochs=1, batch_size=48
    )
    problem = replace(TAGGING, recipe=recipe)
    program = Program(problem, lambda rho: sam.SAM(rho, normalize=False, m=12), ALONE)
    state, source, hyperparameters = program.start([one])
    model = jax.tree.map(lambda leaf: leaf[0], state.params)
    _, index = program.loop._begin(state, source, hyperparameters, program.data, 0)
    batch = problem.batch(
        problem.data,
        jax.tree.map(lambda leaf: leaf[0], source),
        jax.tree.map(lambda leaf: leaf[0, 0], index),
        None,
        "train",
    )

    def loss(params, batch):
        whole = eqx.combine(params, problem.network.static)
        logits = jax.vmap(lambda x: whole(x, dropout=0.0))(batch.inputs)
        sums, weights = jax.vmap(tag_loss)(logits, batch.targets)
        return sums.sum() / weights.sum(), weights.sum()

    gradients, weights = [], []
    for group in range(4):
        part = jax.tree.map(lambda leaf, g=group: leaf[12 * g : 12 * (g + 1)], batch)
        ascent, weight = jax.grad(loss, has_aux=True)(model, part)
        there = jax.tree.map(lambda w, g: w + 0.5 * g, model, ascent)
        gradients.append(jax.grad(loss, has_aux=True)(there, part)[0])
        weights.append(float(weight))
    assert len(set(weights)) > 1
    expected = jax.tree.map(lambda *g: np.average(np.stack(g), axis=0, weights=weights), *gradients)
    decayed = jax.tree.map(lambda w, g: w - 0.01 * (g + 1e-4 * w), model, expected)
    state, metrics = program.epoch(state, source, hyperparameters, last=False)
    for ours, by_hand in zip(leaves(state), jax.tree.leaves(decayed), strict=True):
        np.testing.assert_allclose(ours[0], by_hand, rtol=0, atol=1e-6)
    assert metrics["train_loss"][0] == pytest.approx(float(loss(model, batch)[0]), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [ALONE, replace(ALONE, microbatch=4)], ids=["whole", "accumulated"])
def test_a_batch_without_a_known_label_moves_nothing(plan):
    """Neither as a whole nor in groups of m; what is left of the loss is 0, and the network has not diverged."""
    targets = MOLECULES.dataset.targets
    unknown = replace(MOLECULES.dataset, targets=targets | {"known": np.zeros_like(targets["known"])})
    problem = replace(
        MOLECULES,
        dataset=unknown,
        objective=Objective(label_loss),
        recipe=replace(MOLECULES.recipe, optimizer="sgd", weight_decay=0.0, epochs=1),
    )
    for m in (None, 4):
        program = Program(problem, lambda rho, m=m: sam.SAM(rho, m=m), plan)
        state, source, hyperparameters = program.start([GRID[3].moved(weight_decay=0.0)])
        before = [np.array(leaf) for leaf in leaves(state)]
        state, metrics = program.epoch(state, source, hyperparameters, last=False)
        for one, other in zip(leaves(state), before, strict=True):
            np.testing.assert_array_equal(one, other)
        assert metrics["train_loss"][0] == 0
        assert metrics["gradient_norm"][0] == 0
        assert np.isnan(metrics["valid_loss"][0])  # nothing was measured


@pytest.mark.slow
def test_a_grid_may_vary_what_only_this_task_has():
    rates = [Point.of(0, **dict(GRID[0].moved(dropout=rate).axes)) for rate in (0.0, 0.6)]
    state, _ = trained(TAGGING, "sgd", rates, Plan(2, "scan", "cpu"))
    assert all(np.abs(leaf[0] - leaf[1]).max() > 1e-4 for leaf in leaves(state))
