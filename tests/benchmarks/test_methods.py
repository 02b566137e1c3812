"""Every method has its row; what is averaged, divided and counted is what the table says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from widebasin import sam
from widebasin.benchmarks import Timing, methods
from widebasin.benchmarks.conv_net import ConvNet
from widebasin.benchmarks.step import loss_fn
from widebasin.benchmarks.synthetic import mnist_shaped
from widebasin.models import MLP


def small_mlp():
    return MLP((784, 8, 10), key=jax.random.key(0))


def small_conv_net():
    return ConvNet((2, 3), 10, key=jax.random.key(0))


@pytest.fixture(scope="module")
def batch():
    data = mnist_shaped(6)
    return jnp.asarray(data.inputs), jnp.asarray(data.targets)


def taken(steps, state):
    """Calls ``(program, number)`` one after the other."""
    for program, number in steps:
        state, value = program.call(state, jnp.asarray(number, jnp.int32))
    return state, value


def close(left, right, tolerance=1e-6):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "BATCH_SIZE", 6)
        patch.setattr(methods, "NETWORKS", (methods.Network("small", small_mlp, periods=1),))
        return methods.measure(2)


@pytest.mark.slow
def test_every_method_has_a_time_and_a_memory(found):
    rows = {row.what.removeprefix("small, "): row for row in found.rows if row.against == "SGD"}
    assert {named.title for named in sam.METHODS.values()} <= set(rows)
    for row in rows.values():
        assert row.ratio > 0
        assert len(row.timing.seconds) == 2
        # Both hold the parameters, their momentum and the batch, which are most of it.
        assert 1 <= float(dict(row.more)["memory"]) < 6
    assert rows["SGD"].ratio == float(dict(rows["SGD"].more)["memory"]) == 1


@pytest.mark.slow
def test_rows_are_divided_by_the_gradients_that_the_method_counts(found):
    gradient = next(row for row in found.rows if row.what == "small, gradient").timing
    rows = {row.what.removeprefix("small, "): row for row in found.rows if row.against == "SGD"}
    for named in sam.METHODS.values():
        count, row = named.with_radius(0.1).gradients_per_step, rows[named.title]
        assert float(dict(row.more)["gradients"]) == pytest.approx(count, rel=0.01)
        share = row.timing.median / (count * gradient.median)
        assert float(dict(row.more)["of limit"]) == pytest.approx(share, abs=0.006)


@pytest.mark.slow
def test_sam_is_held_against_two_gradients(found):
    gradient = next(row for row in found.rows if row.what == "small, gradient").timing
    targets = [row for row in found.rows if row.target is not None]
    assert [(row.what, row.against, row.target) for row in targets] == [
        ("small, SAM gradient", "2 gradients", 1.05),
        ("small, SAM", "2 gradients", 1.05),
    ]
    for row in targets:
        assert row.ratio == pytest.approx(row.timing.over(gradient) / 2)


@pytest.mark.slow
def test_the_table_has_the_columns(found):
    assert found.table().columns == (
        *("what", "median ms", "quartiles ms", "memory", "gradients", "of limit", "ratio", "to", "target"),
    )


@pytest.mark.slow
def test_a_step_is_a_gradient_of_the_method_and_an_update(batch):
    method = sam.ASAM(0.5)
    params = small_conv_net()
    _, gradients, _ = method.value_and_grad(loss_fn)(params, (), *batch)
    recipe = methods.RECIPE
    # The first step of momentum is a step of plain gradient descent.
    expected = jax.tree.map(lambda p, g: p - recipe.learning_rate * (g + recipe.weight_decay * p), params, gradients)
    program = methods.step_program(method, params, batch)
    (after, *_), value = taken([(program, 0)], methods.initial_state(method, small_conv_net()))
    close(after, expected)
    assert value == pytest.approx(float(loss_fn(params, *batch)), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", [sam.LookSAM(0.5, 3), sam.SAMEveryK(0.5, 3)], ids=["LookSAM", "SAM every 3"])
def test_two_programs_end_where_one_program_ends(batch, method):
    numbers = range(7)
    one = methods.step_program(method, small_mlp(), batch)
    kinds = [methods.step_program(method, small_mlp(), batch, fixed) for fixed in (0, 1)]
    together, _ = taken([(one, i) for i in numbers], methods.initial_state(method, small_mlp()))
    apart, _ = taken([(kinds[i % 3 > 0], i) for i in numbers], methods.initial_state(method, small_mlp()))
    close(apart, together)


@pytest.mark.slow
def test_steps_of_ssam_choose_where_the_sample_says_so(batch):
    method = sam.SSAM(0.5)
    program = methods.step_program(method, small_mlp(), batch)

    def share_chosen(number):
        (_, _, state), _ = taken([(program, number)], methods.initial_state(method, small_mlp()))
        chosen = jax.tree.leaves(state.perturbed)
        return sum(int(leaf.sum()) for leaf in chosen) / sum(leaf.size for leaf in chosen)

    assert share_chosen(1) == 1
    assert share_chosen(0) == pytest.approx(0.5, abs=1e-3)


def test_a_step_in_a_hundred_adds_a_hundredth_of_what_it_costs_more():
    assert methods.amortized(Timing((1.0, 2.0)), Timing((11.0, 2.0)), 100).seconds == pytest.approx((1.1, 2.0))


@pytest.mark.slow
def test_a_gradient_leaves_the_parameters_as_they_are(batch):
    program = methods.gradient_program(jax.value_and_grad(loss_fn), small_mlp(), batch)
    params, (value, gradients) = taken([(program, 0)], small_mlp())
    close(params, small_mlp(), 0)
    expected = jax.value_and_grad(loss_fn)(small_mlp(), *batch)
    close((value, gradients), expected)


@pytest.mark.slow
def test_the_given_losses_are_those_of_which_the_loss_is_the_mean(batch):
    losses = methods.example_losses(small_mlp(), *batch)
    assert losses.shape == (6,)
    assert float(losses.mean()) == pytest.approx(float(loss_fn(small_mlp(), *batch)), rel=1e-6)


@pytest.mark.slow
def test_given_losses_share_the_clean_pass_and_end_at_the_same_step(batch):
    """A forward pass, in the operations that the compiler counts."""
    method = sam.ESAM(0.5)

    def compiled(losses):
        def gradient(params):
            differentiate = method.value_and_grad(loss_fn, example_losses=losses)
            return differentiate(params, (), *batch, key=jax.random.key(1))[1]

        return jax.jit(gradient).lower(small_mlp()).compile()

    alone, given = compiled(None), compiled(methods.example_losses)
    forward = jax.jit(loss_fn).lower(small_mlp(), *batch).compile().cost_analysis()["flops"]
    saved = alone.cost_analysis()["flops"] - given.cost_analysis()["flops"]
    assert saved == pytest.approx(forward, rel=0.1)
    close(alone(small_mlp()), given(small_mlp()))


def test_memory_counts_what_is_donated_once():
    size = 1000
    numbers = jax.ShapeDtypeStruct((size,), jnp.float32)
    kept = jax.jit(lambda x: x + 1).lower(numbers).compile()
    donated = jax.jit(lambda x: x + 1, donate_argnums=0).lower(numbers).compile()
    assert methods.memory(kept) == 2 * 4 * size
    assert methods.memory(donated) == 4 * size


@pytest.mark.slow
def test_conv_net_is_two_convolutions_with_pooling_and_a_linear_layer():
    """Against sums written out with numpy."""
    net = small_conv_net()
    image = np.random.default_rng(0).random(784, np.float32)

    def convolved(layer, channels):
        weight, bias = np.asarray(layer.weight, np.float64), np.asarray(layer.bias, np.float64)
        side = channels.shape[1]
        padded = np.pad(channels, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        found = np.maximum(np.einsum("oikl,ihwkl->ohw", weight, windows) + bias, 0)
        return found.reshape(len(found), side // 2, 2, side // 2, 2).max((2, 4))

    hidden = convolved(net.second, convolved(net.first, image.reshape(1, 28, 28).astype(np.float64)))
    expected = np.asarray(net.last.weight) @ hidden.ravel() + np.asarray(net.last.bias)
    np.testing.assert_allclose(net(jnp.asarray(image)), expected, rtol=1e-4, atol=1e-5)
    assert optax.tree.size(net) == 2 * 10 + 3 * 19 + 10 * (3 * 49 + 1)
