import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import descent_by_hand, descent_on_quadratic, gradient

from widebasin import sam


def test_equals_sam_at_radius_zero_bit_for_bit(classification):
    params, batch = classification.params, classification.batch
    step = jax.jit(lambda method, *args: method.value_and_grad(classification.loss_with_logits, has_aux=True)(*args))
    plain = step(sam.SGD(), params, (), *batch)
    assert eqx.tree_equal(step(sam.SAM(rho=0.0), params, (), *batch), plain, typematch=True)
    assert not eqx.tree_equal(step(sam.SAM(rho=0.1), params, (), *batch), plain, typematch=True)


@pytest.mark.slow
def test_equals_jax_value_and_grad_bit_for_bit(classification):
    params, batch = classification.params, classification.batch
    value, gradient, state = sam.SGD().value_and_grad(classification.loss)(params, (), *batch)
    assert eqx.tree_equal((value, gradient), jax.value_and_grad(classification.loss)(params, *batch), typematch=True)
    assert state == ()


def test_has_no_hyperparameters():
    assert jax.tree.leaves(sam.SGD()) == []
    assert jax.tree.leaves(sam.SGD().init({"w": jnp.ones(2)})) == []


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        sam.SGD().m = 2


@pytest.mark.usefixtures("float64")
def test_descent_on_a_quadratic_matches_the_closed_form():
    expected = descent_by_hand(lambda t, w, batch: gradient(w, batch))
    np.testing.assert_allclose(descent_on_quadratic(sam.SGD()), expected, rtol=1e-12)
