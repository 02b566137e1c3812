import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin import sam
from widebasin.sam._method import check_mask, check_radius

EVERY_METHOD = pytest.mark.parametrize("name", sorted(sam.METHODS))


@EVERY_METHOD
def test_every_registered_method_satisfies_the_protocol(name):
    assert isinstance(sam.METHODS[name].with_radius(0.1), sam.Method)


@pytest.mark.parametrize("thing", [0.1, object(), sam.value_and_grad])
def test_other_things_do_not_satisfy_the_protocol(thing):
    assert not isinstance(thing, sam.Method)


@EVERY_METHOD
def test_the_gradients_counted_are_the_gradients_taken(name):
    """``gradients_per_step`` against the number of times that the loss runs."""
    runs = []

    def loss(w):
        jax.debug.callback(lambda: runs.append(1))
        return 0.5 * jnp.sum(w**2)

    method = sam.METHODS[name].with_radius(0.1)
    w = jnp.array([3.0, 4.0])
    method.value_and_grad(loss)(w, method.init(w))
    jax.effects_barrier()
    assert len(runs) == method.gradients_per_step


@EVERY_METHOD
def test_value_and_aux_come_from_the_clean_pass(name):
    method = sam.METHODS[name].with_radius(0.5)
    w = jnp.array([3.0, 4.0])

    def loss(w, x):
        return (0.5 * jnp.sum((x * w) ** 2), w)

    (value, aux), _, state = method.value_and_grad(loss, has_aux=True)(w, method.init(w), 2.0)
    assert float(value) == 50.0
    np.testing.assert_array_equal(aux, w)
    assert jax.tree.structure(state) == jax.tree.structure(method.init(w))


@EVERY_METHOD
def test_the_key_of_a_method_that_draws_nothing_is_ignored(name):
    method = sam.METHODS[name].with_radius(0.5)
    w = jnp.array([3.0, 4.0])
    function = method.value_and_grad(lambda w: 0.5 * jnp.sum(w**2))
    _, without, _ = function(w, method.init(w))
    _, given, _ = function(w, method.init(w), key=jax.random.key(0))
    np.testing.assert_array_equal(without, given)


@EVERY_METHOD
def test_a_method_is_a_pytree_that_survives_a_round_trip(name):
    method = sam.METHODS[name].with_radius(0.25)
    leaves, structure = jax.tree.flatten(method)
    assert jax.tree.unflatten(structure, leaves) == method


@pytest.mark.parametrize("rho", [-1e-9, -0.05, math.nan, math.inf, -math.inf, np.float32(-1), Fraction(-1, 2), -1])
def test_what_is_no_radius_is_refused_by_name_and_value(rho):
    with pytest.raises(ValueError, match="rho must be a finite number >= 0, got") as error:
        check_radius(rho)
    assert str(rho) in str(error.value)


@pytest.mark.parametrize("rho", [0, 0.0, 0.05, 3, np.float32(0.1)])
def test_radii_are_accepted(rho):
    check_radius(rho)


def test_traced_radii_pass_unseen():
    assert float(jax.jit(lambda rho: (check_radius(rho), rho)[1])(-1.0)) == -1.0


@pytest.mark.parametrize("rho", ["0.1", lambda step: 0.1])
def test_a_radius_that_is_no_number_is_refused_with_a_remedy(rho):
    with pytest.raises(TypeError, match="rho must be a number"):
        check_radius(rho)


def test_a_mask_that_is_no_function_is_refused_with_a_remedy():
    with pytest.raises(TypeError, match="lambda gradients"):
        check_mask({"weight": True})
    check_mask(None)
    check_mask(lambda gradients: True)
