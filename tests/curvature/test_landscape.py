import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature.problems import smooth_loss

from widebasin import curvature


@pytest.mark.parametrize("axis", [0, -1])
def test_every_filter_of_a_direction_has_the_norm_of_the_parameters(axis):
    """Convolutional kernels and matrices; biases do not move."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "conv": jax.random.normal(keys[0], (4, 3, 2, 5)),
        "dense": jax.random.normal(keys[1], (3, 6)).at[0].set(0.0),
        "bias": jax.random.normal(keys[2], (6,)),
        "steps": jnp.array(3),
        "activation": jax.nn.relu,
        "nothing": None,
    }
    direction = curvature.filter_normalized_direction(params, key=jax.random.key(1), filter_axis=axis)
    for name in ("conv", "dense"):
        others = tuple(other for other in range(params[name].ndim) if other != axis % params[name].ndim)
        norms = [np.sqrt(np.sum(np.asarray(x[name]) ** 2, axis=others)) for x in (direction, params)]
        np.testing.assert_allclose(*norms, rtol=1e-12)
        assert not np.allclose(direction[name], params[name])
    np.testing.assert_array_equal(direction["bias"], np.zeros(6))
    assert direction["steps"] is direction["activation"] is direction["nothing"] is None


def test_the_axis_may_depend_on_the_path():
    params = {"first": jnp.ones((2, 3)), "last": jnp.ones((2, 3))}
    direction = curvature.filter_normalized_direction(
        params, key=jax.random.key(0), filter_axis=lambda path, leaf: leaf.ndim - 1 if "last" in path else 0
    )
    np.testing.assert_allclose(jnp.linalg.norm(direction["first"], axis=1), np.sqrt(3) * np.ones(2))
    np.testing.assert_allclose(jnp.linalg.norm(direction["last"], axis=0), np.sqrt(2) * np.ones(3))


@pytest.mark.slow
def test_pictures_do_not_see_how_relu_layers_share_their_scale():
    """What the normalization is for: the loss along the direction is the same where the function is."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"first": jax.random.normal(keys[0], (6, 4)), "last": jax.random.normal(keys[1], (1, 6))}
    rescaled = {"first": 5 * params["first"], "last": params["last"] / 5}
    batch = jax.random.normal(keys[2], (10, 4))

    def loss(params, batch):
        return jnp.mean((jax.nn.relu(batch @ params["first"].T) @ params["last"].T - 1) ** 2)

    curves = [
        curvature.landscape(
            loss, p, batch, [curvature.filter_normalized_direction(p, key=jax.random.key(1))], points=7
        ).losses
        for p in (params, rescaled)
    ]
    np.testing.assert_allclose(*curves, rtol=1e-9)


def quadratic(w, batch):
    return 0.5 * jnp.sum(batch.mean(0) * w**2)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_a_quadratic_has_the_landscape_of_a_quadratic(chunk_size):
    spectrum, w = jnp.array([1.0, 2.0, 5.0]), jnp.array([0.3, -1.0, 0.5])
    batch = spectrum + jnp.linspace(-1, 1, 7)[:, None]
    first, second = jnp.array([1.0, 0.0, 2.0]), jnp.array([0.0, 1.0, 1.0])
    options = {"span": 2.0, "points": 5, "chunk_size": chunk_size}
    line = curvature.landscape(quadratic, w, batch, [first], **options)
    plane = curvature.landscape(quadratic, w, batch, (first, second), **options)
    np.testing.assert_array_equal(line.offsets, [-2, -1, 0, 1, 2])
    np.testing.assert_allclose(line.losses, [quadratic(w + a * first, batch) for a in line.offsets], rtol=1e-12)
    expected = [[quadratic(w + a * first + b * second, batch) for b in plane.offsets] for a in plane.offsets]
    np.testing.assert_allclose(plane.losses, expected, rtol=1e-12)


@pytest.mark.slow
def test_along_an_eigenvector_the_loss_bends_by_the_eigenvalue(network):
    operator = curvature.hessian(smooth_loss, network.params, network.batch)
    top = curvature.eigenpairs(operator, 1, tolerance=1e-6)
    direction = operator.direction(top.eigenvectors[0])
    found = curvature.landscape(smooth_loss, network.params, network.batch, [direction], span=1e-3, points=3).losses
    np.testing.assert_allclose((found[0] - 2 * found[1] + found[2]) / 1e-6, top.eigenvalues[0], rtol=1e-4)


def test_leaves_without_a_direction_stay():
    class Model(eqx.Module):
        moved: jax.Array
        fixed: jax.Array
        count: jax.Array
        activation: object

    model = Model(jnp.array([1.0]), jnp.array([2.0]), jnp.array(3), jnp.tanh)
    direction = Model(jnp.array([1.0]), None, None, None)

    def loss(model, batch):
        return jnp.sum(model.moved * model.fixed) * model.count * batch.mean()

    found = curvature.landscape(loss, model, jnp.ones(2), [direction], points=3)
    np.testing.assert_allclose(found.losses, [0.0, 6.0, 12.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": []}, "directions must be a list of one or two pytrees like params, got 0"),
        ({"directions": [jnp.ones(3)] * 3}, "directions"),
        ({"directions": [jnp.ones(2)]}, r"\(3,\) is needed, got \(2,\)"),
        ({"directions": [{"w": [jnp.ones(3)]}]}, "a direction must match params"),
        ({"span": 0.0}, "span"),
        ({"points": 1}, "points"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_a_picture_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        curvature.landscape(quadratic, jnp.ones(3), jnp.ones((2, 3)), **{"directions": [jnp.ones(3)], **options})


def test_an_axis_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"filter_axis must be an axis of params\['kernel'\] of shape \(2, 3\), got 2"):
        curvature.filter_normalized_direction({"kernel": jnp.ones((2, 3))}, key=jax.random.key(0), filter_axis=2)
