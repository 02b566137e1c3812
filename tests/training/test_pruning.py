"""Networks pruned at initialization: which weights go, and that they stay away."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training.tasks import DIGITS, NORMALIZED, leaves, point, program_of, trained

from widebasin import sam
from widebasin.data import epoch_batches, key_for
from widebasin.models import ViT
from widebasin.sparsity import prunable, pruned_per_layer
from widebasin.training import Network, Plan, Program, pruned_parameters
from widebasin.training.loops import Dispatched
from widebasin.training.pruning import kernels

DENSE = point(rho=0.1, seed=4, label_noise=0.3, weight_decay=0.01)
RANDOM = DENSE.moved(sparsity=0.75, pruner="random")
SNIP = DENSE.moved(sparsity=0.9375, pruner="snip")
GROUP = (DENSE, RANDOM, SNIP, SNIP.moved(seed=5))
BATCHED, ALONE = Plan(len(GROUP), "scan", "cpu"), Plan(1, "scan", "cpu")
KERNELS = (64 * 12, 12 * 10)


def masks(method, group, task=DIGITS):
    """For every replicate its mask: kernels, then biases."""
    _, _, hyperparameters = program_of(task, method, BATCHED).start(group)
    found = [np.asarray(leaf) for leaf in jax.tree.leaves(hyperparameters.mask)]
    return [[leaf[position] for leaf in found] for position in range(len(group))]


@pytest.fixture(scope="module")
def of_group():
    return masks("sgd", GROUP)


@pytest.mark.slow
def test_counts_are_exact_and_biases_stay(of_group):
    dense, random, snip, other_snip = of_group
    assert all(np.all(leaf) for leaf in dense)
    assert [np.sum(~leaf) for leaf in random[:2]] == [576, 90]
    assert sum(np.sum(~leaf) for leaf in snip[:2]) == sum(np.sum(~leaf) for leaf in other_snip[:2]) == 832  # of 888
    assert all(np.all(leaf) for mask in of_group for leaf in mask[2:])
    for one, mask in zip(GROUP, of_group, strict=True):
        counted = pruned_parameters(DIGITS.network.shapes, one["sparsity"], one["pruner"])
        assert sum(np.sum(~leaf) for leaf in mask) == counted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepared", "then"), [((DENSE,), (DENSE, RANDOM)), ((DENSE, RANDOM), (DENSE,))], ids=["dense", "pruned"]
)
def test_a_program_that_is_prepared_for_one_kind_of_group_trains_the_other(prepared, then):
    """Only groups with a pruned network have masks."""
    plan = Plan(2, "scan", "cpu")
    program = Program(DIGITS, sam.METHODS["sam"].with_radius, plan)
    program.prepare(prepared)
    state, source, hyperparameters = program.start(then)
    for last in (False, True):
        state, _ = program.epoch(state, source, hyperparameters, last)
    alone, _ = trained(DIGITS, "sam", then, plan)
    for mine, theirs in zip(leaves(state), leaves(alone), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@jax.jit
def scores_by_hand(model, inputs, labels):
    """``|w dL/dw|`` of the kernels, one after the other."""

    def loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(inputs), labels).mean()

    scores = jax.tree.map(lambda w, g: jnp.abs(jnp.ravel(w * g)), model, jax.grad(loss)(model))
    return jnp.concatenate(scores.weights)


@pytest.mark.slow
def test_snip_keeps_the_highest_scores_on_the_first_batch_with_its_noisy_labels(of_group):
    for one, mask in zip(GROUP[2:], of_group[2:], strict=True):
        _, examples, _ = program_of(DIGITS, "sgd", ALONE).start([one])
        key = jax.random.key(one.seed)
        batch = np.asarray(epoch_batches(key_for(key_for(key, "training"), "batch order"), 0, 300, 50))[0]
        inputs = DIGITS.dataset.inputs[np.asarray(examples.train[0])[batch]]
        labels = np.asarray(examples.train_targets[0])[batch]
        truth = DIGITS.dataset.targets[np.asarray(examples.train[0])[batch]]
        assert 0 < np.sum(labels != truth) < 50

        model = DIGITS.build(key_for(key, "initialization"))
        kept, kept_of_truth = (
            np.argsort(scores_by_hand(model, inputs, these), kind="stable")[832:] for these in (labels, truth)
        )
        ours = np.flatnonzero(np.concatenate([np.ravel(leaf) for leaf in mask[:2]]))
        np.testing.assert_array_equal(ours, np.sort(kept))
        assert set(ours) != set(kept_of_truth)


@pytest.mark.slow
def test_masks_depend_on_seed_and_pruner_and_not_on_radius_decay_or_company(of_group):
    again = masks("sam", [one.moved(rho=0.7, weight_decay=0.0, learning_rate=0.3) for one in GROUP[::-1]])[::-1]
    for one, other in zip(of_group, again, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)
    assert not np.array_equal(of_group[2][0], of_group[3][0])  # another seed
    clean = masks("sgd", [one.moved(label_noise=0.0) for one in GROUP])
    np.testing.assert_array_equal(of_group[1][0], clean[1][0])
    assert not np.array_equal(of_group[2][0], clean[2][0])  # SNIP sees the wrong labels


def assert_pruned(state, of_group):
    """Exactly 0 where the masks say so, also in the momentum; everything else of the kernels is there."""
    for position, mask in enumerate(of_group):
        weights = [leaf[position] for leaf in leaves(state)[:2]]
        for kernel, stays in zip(weights, mask[:2], strict=True):
            assert np.all(kernel[~stays] == 0)
            assert np.isfinite(kernel).all()
            assert np.count_nonzero(kernel) == np.sum(stays)
        momentum = [np.asarray(leaf)[position] for leaf in jax.tree.leaves(state.optimizer) if leaf.ndim == 3]
        assert len(momentum) == 2
        for trace, stays in zip(momentum, mask[:2], strict=True):
            assert np.all(trace[~stays] == 0)
            assert np.any(trace[stays] != 0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sgd", "asam", "looksam", "esam", "ssam", "linearized-sam"])
def test_pruned_weights_are_exactly_zero_whatever_the_method(method, of_group, monkeypatch):
    # Steps alone: an epoch with its evaluations compiles twice as long.
    monkeypatch.setattr(Dispatched, "_evaluated", lambda *arguments: {})
    state, metrics = trained(DIGITS, method, GROUP, replace(BATCHED, loop="step"))
    assert_pruned(state, of_group)
    assert (metrics["gradient_norm"] > 0).all()
    for one, other in zip(masks(method, GROUP), of_group, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_dense_and_pruned_networks_of_one_batch_equal_the_same_alone(of_group):
    together, metrics = trained(DIGITS, "sam", GROUP, BATCHED)
    assert_pruned(together, of_group)
    for position, one in enumerate(GROUP[:3]):
        # Alone, a dense network's program has no mask at all.
        alone, alone_metrics = trained(DIGITS, "sam", [one], ALONE)
        for batched, single in zip(leaves(together), leaves(alone), strict=True):
            np.testing.assert_allclose(batched[position], single[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(metrics["test_loss"][position], alone_metrics["test_loss"][0], rtol=1e-5)


@pytest.mark.slow
def test_scales_of_normalization_stay():
    found = masks("sgd", GROUP, NORMALIZED)[2]
    assert [np.shape(leaf) for leaf in found if not np.all(leaf)] == [(12, 64), (10, 12)]
    assert sum(np.sum(~leaf) for leaf in found) == 832


@pytest.mark.slow
def test_scales_that_start_at_zero_hide_no_kernel_from_snip():
    """With a scale of 0 all gradients before it are 0; the mask is that of the network whose scale is 1."""

    def closed(key):
        model = NORMALIZED.build(key)
        return eqx.tree_at(lambda one: one.normalization.scale, model, jnp.zeros(12))

    for opened, other in zip(
        masks("sgd", GROUP, NORMALIZED), masks("sgd", GROUP, replace(NORMALIZED, build=closed)), strict=True
    ):
        jax.tree.map(np.testing.assert_array_equal, opened, other)


@pytest.mark.slow
def test_positions_of_a_transformer_are_no_kernels():
    shapes = Network(lambda key: ViT(16, image_size=8, channels=1, patch=4, depth=1, key=key)).shapes
    different = jax.tree.map(lambda ours, usual: ours != usual, kernels(shapes), prunable(shapes))
    assert [jax.tree_util.keystr(path) for path, one in jax.tree.leaves_with_path(different) if one] == [".positions"]
    assert pruned_parameters(shapes, 0.5, "random") == sum(pruned_per_layer(shapes, 0.5)) - 5 * 16 // 2


@pytest.mark.parametrize("pruner", ["none", "magnitude"])
def test_a_sparsity_without_a_known_pruner_is_refused(pruner):
    with pytest.raises(ValueError, match=f"pruner must be one of random, snip .* got '{pruner}'"):
        masks("sgd", [DENSE, RANDOM.moved(pruner=pruner)])


def test_a_gradient_that_is_not_finite_is_refused():
    broken = replace(DIGITS, objective=replace(DIGITS.objective, loss=lambda outputs, label: jnp.inf * outputs.sum()))
    with pytest.raises(ValueError, match="are not finite"):
        masks("sgd", GROUP, broken)
