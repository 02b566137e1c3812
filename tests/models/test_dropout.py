"""Dropout draws what JAX draws."""

import jax
import jax.numpy as jnp
import pytest

from widebasin.models.dropout import bernoulli
from widebasin.training.network import computing_in


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_bernoulli_is_that_of_jax(precision, probability):
    with computing_in(precision):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(3), 1), 4)
        for shape in ((), (7,), (3, 5, 2)):
            own = jax.vmap(lambda key, shape=shape: bernoulli(key, probability, shape))(keys)
            its = jax.vmap(lambda key, shape=shape: jax.random.bernoulli(key, probability, shape))(keys)
            assert own.dtype == bool
            assert (own == its).all()


def test_bernoulli_of_other_keys_and_settings_is_that_of_jax():
    keys = [jax.random.key(3, impl="rbg"), jax.random.key(3)]
    for partitionable in (True, False):
        with jax.threefry_partitionable(partitionable):
            for key in keys:
                assert (bernoulli(key, jnp.float32(0.4), (50,)) == jax.random.bernoulli(key, 0.4, (50,))).all()
