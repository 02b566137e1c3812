import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature.problems import example_loss, smooth_example_loss, smooth_loss

from widebasin import curvature

# Entries of the flattened parameters of the smooth network.
BIAS, KERNEL, LAST = slice(0, 20), slice(20, 260), slice(260, 300)


def first_kernel(path, leaf):
    return path == "['first']['kernel']"


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [None, 5])
def test_where_gives_the_diagonal_block(network, chunk_size):
    operator = curvature.hessian(smooth_loss, network.params, network.batch, where=first_kernel, chunk_size=chunk_size)
    assert operator.size == 240
    np.testing.assert_allclose(operator.dense(), network.hessian[KERNEL, KERNEL], atol=1e-12)
    direction = operator.direction(jnp.arange(240.0))
    assert direction["first"]["bias"] is direction["last"]["kernel"] is None
    np.testing.assert_array_equal(direction["first"]["kernel"], np.arange(240.0).reshape(12, 20))


@pytest.mark.slow
def test_where_may_choose_by_shape(network):
    operator = curvature.hessian(smooth_loss, network.params, network.batch, where=lambda path, leaf: leaf.ndim == 1)
    np.testing.assert_allclose(operator.dense(), network.hessian[BIAS, BIAS], atol=1e-12)


def test_a_layer_without_parameters_is_left_out():
    params = {"empty": jnp.zeros((0, 3)), "full": jnp.ones(2)}
    layers = curvature.by_layer(
        lambda params, batch: jnp.mean(batch) * jnp.sum(params["full"] ** 2), params, jnp.ones(4), key=jax.random.key(0)
    )
    assert list(layers) == ["['full']"]
    np.testing.assert_allclose(layers["['full']"].top.eigenvalues, 2)


def test_the_gauss_newton_matrix_has_the_same_blocks(network):
    def outputs(params, batch):
        return jnp.tanh(batch[0] @ params["first"]["kernel"] + params["first"]["bias"]) @ params["last"]["kernel"]

    def loss_of_outputs(outputs, batch):
        return jnp.mean((outputs - batch[1][:, None]) ** 2)

    arguments = outputs, loss_of_outputs, network.params, network.batch
    whole = curvature.gauss_newton(*arguments).dense()
    part = curvature.gauss_newton(*arguments, where=lambda path, leaf: "bias" in path).dense()
    np.testing.assert_allclose(part, whole[BIAS, BIAS], atol=1e-12)


@pytest.mark.slow
def test_every_measure_takes_a_block(network):
    block, options = network.hessian[BIAS, BIAS], {"where": lambda path, leaf: "bias" in path}
    arguments, eigenvalues = (smooth_loss, network.params, network.batch), np.linalg.eigvalsh(block)
    top = curvature.top_eigenvalues(*arguments, 2, **options)
    bottom = curvature.bottom_eigenvalues(*arguments, 2, **options)
    np.testing.assert_allclose(top.eigenvalues, eigenvalues[::-1][:2], atol=1e-12)
    np.testing.assert_allclose(bottom.eigenvalues, eigenvalues[:2], atol=1e-12)
    trace = curvature.trace(*arguments, key=jax.random.key(0), probes=100, **options)
    assert abs(trace.estimate - np.trace(block)) < 5 * trace.standard_error
    density = curvature.spectral_density(*arguments, key=jax.random.key(0), probes=100, dimension=5, **options)
    mean, error = density.mean_of(lambda x: x**2)
    assert density.size == 20
    assert abs(mean - np.trace(block @ block) / 20) < 5 * error


@pytest.mark.slow
def test_moments_of_a_block_are_those_of_the_blocks(network):
    hessians = network.hessians[:, LAST, LAST]
    arguments = smooth_example_loss, network.params, network.batch

    def last(path, leaf):
        return "last" in path

    moment = np.mean(hessians @ hessians, axis=0) - hessians.mean(0) @ hessians.mean(0)
    np.testing.assert_allclose(curvature.moment_operator(*arguments, 2, where=last).dense(), moment, atol=1e-12)
    steps = np.eye(40) - 0.1 * hessians @ (np.eye(40) + 0.05 * hessians)
    second = curvature.second_moment_operator(*arguments, learning_rate=0.1, rho=0.05, where=last)
    np.testing.assert_allclose(second.dense(), np.mean(steps @ steps, axis=0), atol=1e-12)


@pytest.mark.slow
def test_layers_are_the_diagonal_blocks(network):
    found = curvature.by_layer(
        smooth_loss, network.params, network.batch, key=jax.random.key(0), k=2, tolerance=1e-9, probes=100
    )
    assert list(found) == ["['first']['bias']", "['first']['kernel']", "['last']['kernel']"]
    for layer, entries in zip(found.values(), (BIAS, KERNEL, LAST), strict=True):
        dense = network.hessian[entries, entries]
        assert layer.num_params == len(dense)
        np.testing.assert_allclose(layer.top.eigenvalues, np.linalg.eigvalsh(dense)[::-1][:2], atol=1e-8)
        assert layer.top.converged
        assert abs(layer.trace.estimate - np.trace(dense)) < 5 * layer.trace.standard_error
        outside = np.delete(np.asarray(layer.top.eigenvectors), np.r_[entries], axis=1)
        np.testing.assert_array_equal(outside, 0)


@pytest.mark.slow
def test_arrays_of_one_name_are_one_layer(network):
    found = curvature.by_layer(
        smooth_loss,
        network.params,
        network.batch,
        key=jax.random.key(0),
        layers=lambda path: path.rpartition("[")[0],
        k=2,
        tolerance=1e-9,
        probes=100,
    )
    assert list(found) == ["['first']", "['last']"]
    expected = np.linalg.eigvalsh(network.hessian[:260, :260])[::-1][:2]
    np.testing.assert_allclose(found["['first']"].top.eigenvalues, expected, atol=1e-8)
    assert found["['first']"].num_params == 260


@pytest.mark.slow
def test_layers_smaller_than_a_krylov_space_and_with_negative_curvature():
    """The zeros of the other layers are no eigenvalues of a block."""
    params = {"bent": jnp.zeros(3), "dead": jnp.zeros(2), "steep": jnp.zeros(1)}

    def loss(params, batch):
        bent = jnp.sum(jnp.array([-1.0, -2.0, -3.0]) * params["bent"] ** 2)
        return batch.mean() * (bent + 0 * jnp.sum(params["dead"]) + 4 * jnp.sum(params["steep"] ** 2))

    found = curvature.by_layer(loss, params, jnp.ones(2), key=jax.random.key(0), k=2)
    np.testing.assert_allclose(found["['bent']"].top.eigenvalues, [-2.0, -4.0], atol=1e-12)
    np.testing.assert_allclose(found["['steep']"].top.eigenvalues, [8.0])
    np.testing.assert_allclose(found["['dead']"].top.eigenvalues[0], 0.0)
    assert found["['bent']"].top.converged
    assert found["['steep']"].top.converged
    assert not found["['dead']"].top.converged  # its second 0 equals the first and is not found
    assert [layer.trace.estimate for layer in found.values()] == [-12.0, 0.0, 8.0]


def test_where_that_chooses_nothing_names_the_paths(network):
    with pytest.raises(ValueError, match=r"where selects none .* \['first'\]\['bias'\], .*, \['last'\]\['kernel'\]"):
        curvature.top_eigenvalues(smooth_loss, network.params, network.batch, where=lambda path, leaf: "frist" in path)


def test_paths_of_modules(classifier):
    seen = []
    curvature.moment_operator(
        example_loss, classifier.params, classifier.batch, 2, where=lambda path, leaf: seen.append(path) or True
    )
    assert seen[:2] == [".weights[0]", ".weights[1]"]
