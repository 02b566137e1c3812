import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from widebasin.models import MLP, count_parameters

TREE = {
    "weight": jnp.ones((3, 4)),
    "half": [jnp.ones(5, jnp.bfloat16), jnp.ones((), jnp.float16)],
    "complex": jnp.ones(2, jnp.complex64),
    "empty": jnp.ones((0, 3)),
    "steps": jnp.array(7),
    "flags": jnp.ones(9, bool),
    "key": jax.random.key(0),
    "activation": jax.nn.relu,
    "rate": 0.5,
    "nothing": None,
}


def test_counts_the_entries_of_floating_point_arrays():
    assert count_parameters(TREE) == 12 + 5 + 1 + 2 + 0


def test_shapes_count_as_the_arrays_do():
    """Nothing is allocated to learn the size of a network; integers and keys do not count there either."""
    assert count_parameters(eqx.filter_eval_shape(lambda: TREE)) == count_parameters(TREE)


def test_numpy_arrays_count():
    assert count_parameters({"weight": np.ones((3, 4)), "steps": np.arange(5)}) == 12


def test_a_network_counts_weights_and_biases():
    assert count_parameters(MLP((5, 7, 3), key=jax.random.key(0))) == 5 * 7 + 7 + 7 * 3 + 3


def test_a_tree_without_arrays_has_no_parameters():
    assert count_parameters([]) == 0


def test_the_state_that_a_model_starts_in_does_not_count():
    index = eqx.nn.StateIndex(jnp.ones(100))
    assert count_parameters({"weight": jnp.ones((3, 4)), "running": index}) == 12
