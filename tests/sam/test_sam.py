import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sam.family import (
    EVERYWHERE,
    EXAMPLES,
    MATRIX,
    START,
    descent,
    descent_by_hand,
    descent_on_quadratic,
    gradient,
    length,
    loss,
    problem,
    quadratic,
    sam_by_hand,
    tensors,
    vector,
)
from together import together

from widebasin import sam


def half_square_norm(w):
    return 0.5 * jnp.sum(w**2)


W = jnp.array([3.0, 4.0])


def gradient_of(method, w=W):
    return method.value_and_grad(half_square_norm)(w, method.init(w))[1]


@together(("normalize", "factor"), [(True, 1.1), (False, 1.5)])
def test_gradient_matches_the_closed_form(normalize, factor):
    value, gradient, state = sam.SAM(rho=0.5, normalize=normalize).value_and_grad(half_square_norm)(W, ())
    assert float(value) == 12.5
    np.testing.assert_allclose(gradient, factor * W, rtol=1e-6)
    assert state == ()


@together("normalize", [True, False])
def test_equals_the_drop_in_function(classification, normalize):
    def mask(gradients):
        return jax.tree.map(lambda g: g.ndim > 1, gradients)

    method = sam.SAM(rho=0.3, normalize=normalize, mask=mask)
    value, gradient, _ = jax.jit(method.value_and_grad(classification.loss))(
        classification.params, (), *classification.batch
    )
    expected = jax.jit(sam.value_and_grad(classification.loss, rho=0.3, normalize=normalize, mask=mask))(
        classification.params, *classification.batch
    )
    jax.tree.map(np.testing.assert_array_equal, (value, gradient), expected)


def test_the_radius_is_the_only_leaf():
    method = sam.SAM(rho=0.2, normalize=False)
    assert jax.tree.leaves(method) == [0.2]
    assert jax.tree.map(lambda rho: 2 * rho, method) == sam.SAM(rho=0.4, normalize=False)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        sam.SAM().rho = 0.1


def test_carries_no_state():
    assert jax.tree.leaves(sam.SAM().init({"w": W})) == []


@together("rho", [-0.1, float("nan"), float("inf")])
def test_a_radius_that_is_none_is_refused_by_name_and_value(rho):
    with pytest.raises(ValueError, match=f"rho must be a finite number >= 0, got {rho}"):
        sam.SAM(rho=rho)


def test_one_compiled_program_serves_every_radius():
    traces = []

    @jax.jit
    def step(method, w):
        traces.append(method.normalize)
        return method.value_and_grad(half_square_norm)(w, ())[1]

    for rho in (0.0, 0.05, 0.5, 2.0):
        np.testing.assert_allclose(step(sam.SAM(rho=rho), W), W * (1 + rho / 5), rtol=1e-6)
    assert traces == [True]
    np.testing.assert_allclose(step(sam.SAM(rho=0.5, normalize=False), W), 1.5 * W, rtol=1e-6)
    assert traces == [True, False]


@pytest.mark.slow
def test_vmap_over_radii_equals_a_loop(classification):
    radii = [0.0, 0.01, 0.1, 1.0]

    @jax.jit
    def gradient(method):
        return method.value_and_grad(classification.loss)(classification.params, (), *classification.batch)[1]

    together = jax.vmap(gradient)(sam.SAM(rho=jnp.array(radii)))
    for i, rho in enumerate(radii):
        alone = gradient(sam.SAM(rho=rho))
        for left, right in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(left[i], right, atol=1e-6)


def test_the_derivative_in_the_radius_is_the_curvature_along_the_ascent():
    """For 0.5 ||w||^2 the gradient w + rho w / ||w|| has the derivative w / ||w||."""
    derivative = jax.jit(jax.jacfwd(lambda rho: gradient_of(sam.SAM(rho=rho))))(0.5)
    np.testing.assert_allclose(derivative, W / 5, rtol=1e-6)


def test_a_radius_may_follow_a_schedule_in_a_compiled_loop():
    """Each step on 0.5 ||w||^2 multiplies w by 1 - learning_rate (1 + rho_t / ||w||)."""
    schedule = optax.linear_schedule(0.0, 1.0, transition_steps=4)

    def step(w, t):
        return w - 0.1 * gradient_of(sam.SAM(rho=schedule(t)), w), None

    w, _ = jax.lax.scan(step, W, jnp.arange(4))
    expected = np.array(W, float)
    for rho in (0.0, 0.25, 0.5, 0.75):
        expected *= 1 - 0.1 * (1 + rho / np.linalg.norm(expected))
    np.testing.assert_allclose(w, expected, rtol=1e-6)


@pytest.mark.usefixtures("float64")
@together("normalize", [True, False])
def test_descent_on_a_quadratic_with_a_new_batch_at_every_step_matches_the_closed_form(normalize):
    expected = descent_by_hand(sam_by_hand(0.5, normalize))
    np.testing.assert_allclose(descent_on_quadratic(sam.SAM(0.5, normalize)), expected, rtol=1e-11)


# The ascent in several steps


def multi_step_by_hand(rho, steps, shown=EVERYWHERE):
    def rule(t, w, batch):
        point = w
        for _ in range(steps):
            g = np.where(shown, gradient(point, batch), 0.0)
            point = point + rho / steps * g / length(g)
        return gradient(point, batch)

    return rule


@pytest.mark.usefixtures("float64")
@together(("rho", "steps"), [(0.5, 2), (3.0, 5)])
def test_several_steps_match_the_closed_form(rho, steps):
    expected = descent_by_hand(multi_step_by_hand(rho, steps))
    np.testing.assert_allclose(descent_on_quadratic(sam.MultiStepSAM(rho, steps)), expected, rtol=1e-11)
    assert not np.allclose(expected, descent_by_hand(sam_by_hand(rho)), rtol=1e-3)


@pytest.mark.usefixtures("float64")
def test_the_mask_holds_in_every_step_of_the_ascent():
    expected = descent_by_hand(multi_step_by_hand(0.5, 3, shown=np.arange(5) >= 2))
    method = sam.MultiStepSAM(0.5, 3, mask=lambda gradients: {"a": False, "b": True})
    np.testing.assert_allclose(descent_on_quadratic(method), expected, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_path_has_length_rho_and_ends_higher_than_the_one_step():
    """The gradient on a quadratic tells where it was taken."""

    def end_and_loss(method):
        _, found, _ = jax.jit(method.value_and_grad(quadratic))(tensors(START), (), jnp.asarray(EXAMPLES[0]))
        end = np.linalg.solve(MATRIX, vector(found)) + EXAMPLES[0].mean(0)
        return end, float(quadratic(tensors(end), jnp.asarray(EXAMPLES[0])))

    rho = 2.0
    one, loss_of_one = end_and_loss(sam.SAM(rho))
    many, loss_of_many = end_and_loss(sam.MultiStepSAM(rho, 20))
    np.testing.assert_allclose(np.linalg.norm(one - START), rho, rtol=1e-12)
    assert np.linalg.norm(many - START) < rho
    assert loss_of_many > loss_of_one


@pytest.mark.usefixtures("float64")
def test_one_step_is_sam_bit_for_bit():
    start = problem()
    expected = descent(sam.SAM(0.3), start.params, (), start.batches)
    assert eqx.tree_equal(descent(sam.MultiStepSAM(0.3, 1), start.params, (), start.batches), expected)


@pytest.mark.usefixtures("float64")
def test_several_steps_of_radius_zero_are_the_plain_gradient_bit_for_bit():
    start = problem()
    expected = descent(sam.SGD(), start.params, (), start.batches)
    assert eqx.tree_equal(descent(sam.MultiStepSAM(0.0, 3), start.params, (), start.batches), expected)


@together("steps", [0, -2])
def test_steps_are_refused_by_name_and_value(steps):
    with pytest.raises(ValueError, match=f"steps must be a whole number of at least 1, got {steps}"):
        sam.MultiStepSAM(0.5, steps)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@together("steps", [1, 2, 4])
def test_training_with_momentum_equals_optax_contrib_sam(steps):
    """optax ascends ``sync_period - 1`` times by its adversary's step, here normalized and of length rho / steps."""
    rho, start = 0.3, problem()
    optimizer = optax.sgd(0.1, momentum=0.9)
    adversary = optax.chain(optax.contrib.normalize(), optax.sgd(rho / steps))
    theirs = optax.contrib.sam(optax.sgd(0.1, momentum=0.9), adversary, sync_period=steps + 1, opaque_mode=True)
    method = sam.MultiStepSAM(rho, steps) if steps > 1 else sam.SAM(rho)

    @jax.jit
    def our_step(params, state, *batch):
        _, found, _ = method.value_and_grad(loss)(params, (), *batch)
        updates, state = optimizer.update(found, state, params)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def their_step(params, state, *batch):
        gradient = jax.grad(loss)
        updates, state = theirs.update(
            gradient(params, *batch), state, params, grad_fn=lambda w, _: gradient(w, *batch)
        )
        return optax.apply_updates(params, updates), state

    ours, our_state = start.params, optimizer.init(start.params)
    others, their_state = start.params, theirs.init(start.params)
    for batch in start.batches:
        ours, our_state = our_step(ours, our_state, *batch)
        others, their_state = their_step(others, their_state, *batch)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), ours, others)
