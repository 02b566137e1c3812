"""Losses that are weighted means: groups, parts and devices count by the weights of their examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from widebasin import sam

WEIGHTS = np.array([1.0, 0.0, 2.0, 1.0, 0.0, 3.0, 1.0, 0.5])
X = np.random.default_rng(0).standard_normal((8, 3))
Y = np.random.default_rng(1).standard_normal(8)
RHO, W = 0.3, np.array([0.2, -0.5, 1.0])


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def loss(w, x, y, weights):
    total = weights.sum()
    return jnp.sum(weights * (x @ w - y) ** 2) / total, total


def gradient_by_hand(w, rows):
    x, y, weights = X[rows], Y[rows], WEIGHTS[rows]
    return 2 * x.T @ (weights * (x @ w - y)) / weights.sum()


def sam_by_hand(m):
    """The weighted mean over groups of the gradients at their own ascent points, and of their losses."""
    groups = [np.arange(first, first + m) for first in range(0, 8, m)]
    ascents = [W + RHO * (g := gradient_by_hand(W, rows)) / np.linalg.norm(g) for rows in groups]
    totals = [WEIGHTS[rows].sum() for rows in groups]
    gradients = [gradient_by_hand(there, rows) for there, rows in zip(ascents, groups, strict=True)]
    value = np.average((X @ W - Y) ** 2, weights=WEIGHTS)
    return value, np.average(gradients, axis=0, weights=totals)


def ours(m, base=jax.value_and_grad, axis_name=None):
    method = sam.SAM(RHO, m=m)
    gradient = method.value_and_grad(loss, True, base, axis_name=axis_name, group_weight=lambda total: total)

    def run(w, *batch):
        (value, _), gradients, _ = gradient(w, (), *batch)
        return value, gradients

    return run


BATCH = (X, Y, WEIGHTS)


@pytest.mark.slow
@pytest.mark.parametrize("m", [2, 8, None])
@pytest.mark.parametrize("part", [None, 2])
def test_groups_and_parts_count_by_their_weights(m, part):
    base = jax.value_and_grad if part is None else sam.microbatched(part, group_weight=lambda total: total)
    value, gradients = ours(m, base)(jnp.asarray(W), *map(jnp.asarray, BATCH))
    expected_value, expected = sam_by_hand(m or 8)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    np.testing.assert_allclose(gradients, expected, rtol=1e-12)


@pytest.mark.parametrize("m", [2, 4, 8])
def test_groups_on_several_devices_count_by_their_weights(m):
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    split = PartitionSpec("data")
    run = jax.shard_map(
        ours(m, axis_name="data"), mesh=mesh, in_specs=(PartitionSpec(), split, split, split), out_specs=PartitionSpec()
    )
    value, gradients = jax.jit(run)(jnp.asarray(W), *map(jnp.asarray, BATCH))
    expected_value, expected = sam_by_hand(m)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    np.testing.assert_allclose(gradients, expected, rtol=1e-12)


def test_equal_weights_change_no_bit():
    def plain(w, x, y):
        return jnp.mean((x @ w - y) ** 2), jnp.asarray(float(len(x)))

    found = []
    for weight in (None, lambda total: total):
        gradient = sam.SAM(RHO, m=2).value_and_grad(plain, True, group_weight=weight)
        found.append(gradient(jnp.asarray(W), (), jnp.asarray(X), jnp.asarray(Y)))
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_a_weight_without_auxiliary_data_is_refused():
    for refused in (
        lambda: sam.SAM(RHO).value_and_grad(lambda w: w, group_weight=lambda aux: aux),
        lambda: sam.microbatched(2, group_weight=lambda aux: aux)(lambda w: w),
    ):
        with pytest.raises(ValueError, match="set has_aux=True"):
            refused()
