"""What methods carry from step to step: through a checkpoint, and past a step whose gradient is not finite."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import FAMILY, KEY, ONE_OF_EACH, PERTURBING, STATEFUL, descent, each_compiled, problem, step
from together import together

from widebasin import sam
from widebasin.training.checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("float64")


def assert_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_the_methods_that_carry_a_state():
    names = {type(method) for method in STATEFUL.values()}
    assert names == {sam.LookSAM, sam.SAMEveryK, sam.FriendlySAM, sam.SSAM, sam.LinearizedSAM}


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2])
def test_a_descent_restored_from_a_checkpoint_equals_the_uninterrupted_one_bit_for_bit(tmp_path, steps):
    """Interrupted between two steps of SAM, of k = 3, and between two choices of SSAM's parameters, and after."""
    start = problem()
    saved = {
        name: descent(method, start.params, method.init(start.params), start.batches[:steps])[:2]
        for name, method in STATEFUL.items()
    }
    Checkpoints(tmp_path).save(steps, saved)
    like = {name: (start.params, method.init(start.params)) for name, method in STATEFUL.items()}
    restored = Checkpoints(tmp_path).restore(like)
    for name, method in STATEFUL.items():
        whole = descent(method, start.params, method.init(start.params), start.batches)
        params, state = restored[name]
        rest = descent(method, params, state, start.batches[steps:], first=steps)
        assert_equal(rest[:2], whole[:2])
        assert_equal(rest[2], whole[2][steps:])


@each_compiled(STATEFUL)
def test_without_its_state_a_descent_goes_another_way(method):
    """So the test above can fail: a fresh state after an interruption does not do."""
    start = problem()
    whole, _, _ = descent(method, start.params, method.init(start.params), start.batches)
    params, _, _ = descent(method, start.params, method.init(start.params), start.batches[:1])
    forgetful, _, _ = descent(method, params, method.init(params), start.batches[1:], first=1)
    assert not np.allclose(forgetful["out"], whole["out"], rtol=1e-6)


# Steps that are not finite


def assert_skipped(found, state):
    _, gradients, after = found
    assert all(np.all(np.isnan(g)) for g in jax.tree.leaves(gradients))
    assert_equal(after, state)


@each_compiled(FAMILY)
@together("number", [np.nan, np.inf, -np.inf])
def test_where_the_clean_gradient_is_not_finite_all_gradients_are_nan_and_the_state_stays(method, number):
    """At steps of SAM and between them; one example is enough."""
    start = problem()
    params, state = start.params, method.init(start.params)
    for t, (inputs, targets) in enumerate(start.batches[:2]):
        key = jax.random.fold_in(jax.random.key(KEY), t)
        assert_skipped(step(method, params, state, inputs, targets.at[3].set(number), key), state)
        _, _, state = step(method, params, state, inputs, targets, key)


@each_compiled(PERTURBING)
def test_one_group_that_is_not_finite_is_enough(method):
    start = problem()
    inputs, targets = start.batches[0]
    state = method.init(start.params)
    found = step(
        dataclasses.replace(method, m=4), start.params, state, inputs, targets.at[3].set(np.nan), jax.random.key(KEY)
    )
    assert_skipped(found, state)


def half_finite(params, inputs):
    """Finite at the parameters, which are all ones, and not where any of them rises: but only the tensor ``a`` sees.

    ``sqrt`` of a negative number has neither a value nor a gradient.
    """
    seen = jnp.sum(params["a"]) + jax.lax.stop_gradient(jnp.sum(params["b"]))
    quadratic = 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
    return quadratic + jnp.mean(inputs) * (1.0 - jnp.sqrt(5.001 - seen))


# The second pass of a linearized method is a product with the Hessian at the center, wherever the ascent ends.
PASSING_TWICE = {
    name: method for name, method in ONE_OF_EACH.items() if name != "SGD" and not isinstance(method, sam.LinearizedSAM)
}


@each_compiled(PASSING_TWICE)
def test_where_only_the_perturbed_gradient_of_one_tensor_is_not_finite_all_gradients_are_nan(method):
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    state, inputs = method.init(params), jnp.ones(4)
    clean = jax.grad(half_finite)(params, inputs)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(clean))
    keys = jax.random.split(jax.random.key(1), 4)
    function = jax.jit(jax.vmap(lambda key: method.value_and_grad(half_finite)(params, state, inputs, key=key)))
    values, gradients, states = function(keys)
    skipped = np.isnan(gradients["a"])[:, 0]
    np.testing.assert_array_equal(skipped, np.isnan(gradients["b"])[:, 0])
    assert np.all(np.isfinite(values))
    if isinstance(method, sam.RandomPerturbation | sam.ESAM):  # some draws go down, or nowhere
        assert 0 < np.sum(skipped) <= 4
    else:
        assert np.all(skipped)
    for i in np.flatnonzero(skipped):
        assert_skipped(jax.tree.map(lambda leaf, i=i: leaf[i], (values, gradients, states)), state)


def hidden_by_the_ascent(params, inputs):
    """The gradient of the tensor ``a`` is 0 / 0 at the parameters, which are all ones, and finite where ``b`` rises."""
    root = jnp.sqrt(params["a"] * (jax.lax.stop_gradient(jnp.sum(params["b"])) - 3.0))
    return jnp.mean(inputs) * (jnp.sum(root) + 0.5 * jnp.sum(params["b"] ** 2))


@each_compiled({name: method for name, method in PASSING_TWICE.items() if name != "random perturbation"})
def test_a_clean_gradient_that_is_not_finite_is_not_hidden_by_a_perturbed_one_that_is(method):
    """The mask keeps the tensor out of the ascent, which is finite."""
    params, inputs = {"a": jnp.ones(2), "b": jnp.ones(3)}, jnp.ones(4)
    clean, moved = (jax.grad(hidden_by_the_ascent)(params | {"b": params["b"] + e}, inputs) for e in (0.0, 0.1))
    assert np.all(np.isnan(clean["a"]))
    assert np.all(np.isfinite(moved["a"]))
    whole = {"beta": 1.0} if isinstance(method, sam.ESAM) else {}
    method = dataclasses.replace(method, mask=sam.by_path("b"), **whole)
    state = method.init(params)
    assert_skipped(
        jax.jit(method.value_and_grad(hidden_by_the_ascent))(params, state, inputs, key=jax.random.key(0)), state
    )


@each_compiled(PERTURBING)
def test_after_a_step_that_was_skipped_the_descent_goes_on_as_if_it_had_not_been(method):
    start = problem()
    inputs, targets = start.batches[0]
    key = jax.random.fold_in(jax.random.key(KEY), 0)
    state = method.init(start.params)
    _, _, after = step(method, start.params, state, inputs, targets.at[0].set(np.nan), key)
    assert_equal(
        descent(method, start.params, after, start.batches), descent(method, start.params, state, start.batches)
    )


@together("method", [sam.FriendlySAM(0.5), sam.LookSAM(0.1), sam.SSAM(0.1, scores="random")])
def test_the_state_of_parameters_of_other_shapes_is_refused(method):
    function = method.value_and_grad(lambda w: 0.5 * jnp.sum(w**2))
    for own, other in ((jnp.ones(3), jnp.ones((2, 3))), (jnp.ones((2, 3)), jnp.ones(3))):
        with pytest.raises(ValueError, match=r"the state does not belong to .* it has the shapes"):
            function(own, method.init(other), key=jax.random.key(KEY))


@jax.tree_util.register_pytree_node_class
class Weights:
    """Parameters in a class of one's own, which compares by identity."""

    def __init__(self, w):
        self.w = w

    def tree_flatten(self):
        return (self.w,), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


def test_the_state_of_parameters_in_a_class_of_ones_own_is_theirs():
    method, params = sam.FriendlySAM(0.5), Weights(jnp.ones(3))
    function = method.value_and_grad(lambda p: 0.5 * jnp.sum(p.w**2))
    _, gradients, state = function(params, method.init(params))
    function(params, state)
    np.testing.assert_allclose(
        gradients.w, method.value_and_grad(lambda w: 0.5 * jnp.sum(w**2))(params.w, method.init(params.w))[1]
    )
