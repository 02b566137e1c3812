import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from curvature.problems import mean_loss

from widebasin import curvature


@pytest.mark.parametrize("chunk_size", [None, 1, 5, 100])
def test_hessian_equals_the_dense_one_whatever_the_chunks(classifier, chunk_size):
    operator = curvature.hessian(mean_loss, classifier.params, classifier.batch, chunk_size=chunk_size)
    assert operator.size == len(classifier.hessian)
    np.testing.assert_allclose(operator.dense(), classifier.hessian, atol=1e-12)


def test_a_product_is_that_of_the_matrix(classifier):
    operator = curvature.hessian(mean_loss, classifier.params, classifier.batch)
    vector = jax.random.normal(jax.random.key(1), (operator.size,))
    np.testing.assert_allclose(operator @ vector, classifier.hessian @ vector, atol=1e-12)


def test_a_direction_has_the_shapes_of_the_parameters(classifier):
    operator = curvature.hessian(mean_loss, classifier.params, classifier.batch)
    direction = operator.direction(jnp.arange(operator.size, dtype=float))
    assert jax.tree.map(jnp.shape, direction) == jax.tree.map(jnp.shape, classifier.params)
    np.testing.assert_array_equal(
        jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(direction)]), range(operator.size)
    )


def outputs(params, batch):
    return jax.vmap(params)(batch[0])


def loss_of_outputs(logits, batch):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]))


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [None, 5])
def test_gauss_newton_is_the_jacobian_around_the_curvature_of_the_loss(classifier, chunk_size):
    """``mean_i J_i^T (diag(p_i) - p_i p_i^T) J_i`` for cross entropy."""
    operator = curvature.gauss_newton(
        outputs, loss_of_outputs, classifier.params, classifier.batch, chunk_size=chunk_size
    )
    jacobian = jax.jacobian(lambda params: outputs(params, classifier.batch))(classifier.params)
    rows = np.concatenate([np.reshape(leaf, (23, 3, -1)) for leaf in jax.tree.leaves(jacobian)], axis=-1)
    p = np.asarray(jax.nn.softmax(outputs(classifier.params, classifier.batch)))
    curved = p[:, :, None] * np.eye(3) - p[:, :, None] * p[:, None]
    expected = np.mean(np.swapaxes(rows, 1, 2) @ curved @ rows, axis=0)
    np.testing.assert_allclose(operator.dense(), expected, atol=1e-12)


@pytest.mark.slow
def test_leaves_that_are_not_floating_point_stay(classifier):
    """An Equinox model with an activation function and an integer array."""

    class Model(eqx.Module):
        layers: eqx.nn.MLP
        shift: jax.Array

    model = Model(eqx.nn.MLP(4, 3, 5, 1, key=jax.random.key(2)), jnp.array(2))

    def loss(model, batch):
        return jnp.mean(jax.vmap(model.layers)(batch[0] + model.shift) ** 2)

    operator = curvature.hessian(loss, model, classifier.batch)
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(arrays)
    expected = jax.hessian(lambda v: loss(eqx.combine(unravel(v), rest), classifier.batch))(flat)
    np.testing.assert_allclose(operator.dense(), expected, atol=1e-12)
    assert operator.direction(jnp.ones(operator.size)).shift is None


def test_other_parameters_of_one_shape_do_not_compile_again(classifier):
    traces = []

    def loss(params, batch):
        traces.append(1)
        return mean_loss(params, batch)

    vector = jnp.ones(len(classifier.hessian))
    curvature.hessian(loss, classifier.params, classifier.batch) @ vector
    before = len(traces)
    moved = jax.tree.map(lambda leaf: 1.1 * leaf, classifier.params)
    other = curvature.hessian(loss, moved, classifier.batch) @ vector
    assert len(traces) == before + 1  # the check that the loss is a scalar
    assert not np.allclose(other, classifier.hessian @ vector)


def test_a_loss_that_is_no_scalar_is_refused(classifier):
    with pytest.raises(ValueError, match=r"must be one scalar, got shapes \[\(23, 3\)\]"):
        curvature.hessian(outputs, classifier.params, classifier.batch)


def test_parameters_that_are_not_finite_are_refused(classifier):
    broken = jax.tree.map(lambda leaf: leaf.at[..., 0].set(jnp.nan), classifier.params)
    with pytest.raises(ValueError, match="not finite"):
        curvature.hessian(mean_loss, broken, classifier.batch)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((jnp.zeros((0, 4)), jnp.zeros(0, int)), "no examples"),
        ((jnp.zeros((3, 4)), jnp.zeros(2, int)), "leading axis"),
        ((jnp.zeros((3, 4)), jnp.zeros((), int)), "leading axis"),
    ],
)
def test_a_batch_without_examples_or_of_several_lengths_is_refused(classifier, batch, message):
    with pytest.raises(ValueError, match=message):
        curvature.hessian(mean_loss, classifier.params, batch)


def test_parameters_without_an_array_to_differentiate_are_refused(classifier):
    with pytest.raises(ValueError, match="no floating-point array"):
        curvature.hessian(mean_loss, {"n": jnp.array(3)}, classifier.batch)


def test_a_chunk_of_no_examples_is_refused(classifier):
    with pytest.raises(ValueError, match="chunk_size"):
        curvature.hessian(mean_loss, classifier.params, classifier.batch, chunk_size=0)


def test_a_vector_of_another_length_is_refused(classifier):
    operator = curvature.hessian(mean_loss, classifier.params, classifier.batch)
    with pytest.raises(ValueError, match="shape"):
        operator @ jnp.ones(3)
