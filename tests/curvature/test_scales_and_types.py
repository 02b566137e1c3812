"""Numbers are right where squares leave their type, where a Krylov space breaks down, and in half precision."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from widebasin import curvature
from widebasin.curvature._flat import checked_key
from widebasin.curvature._krylov import sound

TWO = jnp.ones((2, 1), jnp.float32)
DIAGONAL = np.linspace(1, 3, 60)


def scaled_quadratic(w, batch):
    return jnp.mean(batch) * jnp.sum(jnp.asarray(DIAGONAL, w.dtype) / 2 * w**2)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20])
def test_eigenvalues_and_density_do_not_depend_on_the_scale_of_the_loss(scale):
    batch = jnp.full((2, 1), scale, jnp.float32)
    found = curvature.top_eigenvalues(scaled_quadratic, jnp.zeros(60, jnp.float32), batch)
    assert found.converged
    np.testing.assert_allclose(found.eigenvalues, 3 * scale, rtol=1e-5)
    density = curvature.spectral_density(
        scaled_quadratic, jnp.zeros(60, jnp.float32), batch, key=jax.random.key(0), dimension=20
    )
    np.testing.assert_allclose((density.nodes.min(), density.nodes.max()), (scale, 3 * scale), rtol=0.02)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_constants_do_not_depend_on_the_scale_of_the_loss(scale):
    """Of ``sum_j d_j w_j^2 / 2`` at ones: ``||d||^2 / sum d``; the largest ``d_j`` is 3."""
    batch = jnp.full((2, 1), scale, jnp.float32)
    found = curvature.constants(scaled_quadratic, [jnp.ones(60, jnp.float32)], batch)
    assert found.converged
    np.testing.assert_allclose(found.pl.value / scale, (DIAGONAL**2).sum() / DIAGONAL.sum(), rtol=1e-4)
    np.testing.assert_allclose(found.smoothness.value / scale, 3, rtol=1e-3)
    np.testing.assert_allclose(found.smoothness_each.value / scale, 3, rtol=1e-3)


def one_eigenvalue(w, batch):
    return jnp.mean(batch) * 0.5 * jnp.sum(w**2)


def none(w, batch):
    return jnp.mean(batch) * jnp.sum(w)


def rank_two(w, batch):
    return jnp.mean(batch) * (w[0] ** 2 + 2 * w[1] ** 2)


FEW = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
SQUARES = np.linalg.svd(FEW, compute_uv=False) ** 2 * 2 / 5


def fewer_examples_than_parameters(w, batch):
    return jnp.mean(batch) * jnp.mean((FEW @ w) ** 2)


@pytest.mark.parametrize(
    ("loss", "atoms"),
    [(one_eigenvalue, [1]), (none, [0]), (rank_two, [0, 2, 4]), (fewer_examples_than_parameters, [0, *SQUARES])],
)
def test_the_density_has_the_very_atoms_where_the_krylov_space_ends(loss, atoms):
    density = curvature.spectral_density(loss, jnp.ones(40, jnp.float32), TWO, key=jax.random.key(0), dimension=16)
    np.testing.assert_allclose(density.weights.sum(1), 1, atol=1e-5)
    there = np.abs(density.nodes[..., None] - atoms).min(-1) < 1e-4
    np.testing.assert_allclose((density.weights * there).sum(1), 1, atol=1e-4)


def network(params, inputs):
    return jnp.mean((jnp.tanh(inputs @ params["in"]) @ params["out"] - 1) ** 2)


def of_one(params, example):
    return network(params, example[None])


def at_its_minimum(params, example):
    """Half the squared distance of the outputs of a linear layer from what they are."""
    return 0.5 * jnp.sum((example @ (params["in"] - jax.lax.stop_gradient(params["in"]))) ** 2)


def moments(p, x):
    found = curvature.hessian_moments(of_one, p, x)
    return [found.sharpness, *found.nonuniformity.values()]


IN_HALF_PRECISION = {
    "eigenvalues": lambda p, x: curvature.top_eigenvalues(network, p, x).eigenvalues,
    "trace": lambda p, x: curvature.trace(network, p, x, key=jax.random.key(0)).estimate,
    "density": lambda p, x: curvature.spectral_density(network, p, x, key=jax.random.key(0), dimension=4).nodes.max(1),
    "layers": lambda p, x: [
        one.trace.estimate for one in curvature.by_layer(network, p, x, key=jax.random.key(0)).values()
    ],
    "constants": lambda p, x: list(curvature.constants(of_one, [p], x).values.values()),
    # Of fewer examples than inputs: rounding errors stand in the place of eigenvalues that are 0.
    "constants at a minimum": lambda p, x: list(
        curvature.constants_at_minimum(at_its_minimum, p, x[:2]).values.values()
    ),
    "moments": moments,
    "stability": lambda p, x: curvature.stability(of_one, p, x, learning_rate=0.1, rho=0.05).value,
    "landscape": lambda p, x: curvature.landscape(
        network, p, x, [curvature.filter_normalized_direction(p, key=jax.random.key(0))], points=5
    ).losses,
    "worst case": lambda p, x: curvature.worst_case_sharpness(network, p, x, rho=0.5, m=None).value,
    "average": lambda p, x: curvature.average_sharpness(network, p, x, rho=0.3, key=jax.random.key(0)).value,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("name", IN_HALF_PRECISION)
def test_half_precision_agrees_with_single_precision(name, dtype):
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"in": jax.random.normal(keys[0], (4, 6)), "out": jax.random.normal(keys[1], (6,))}
    inputs = jax.random.normal(keys[2], (8, 4))
    params, inputs = jax.tree.map(lambda leaf: leaf.astype(dtype), (params, inputs))
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, inputs))
    function = IN_HALF_PRECISION[name]
    expected = np.asarray(function(*wide))
    # The direction of a landscape is itself in half precision.
    tolerance = 40 * float(jnp.finfo(dtype if name == "landscape" else jnp.float32).eps)
    np.testing.assert_allclose(
        function(params, inputs), expected, rtol=tolerance, atol=tolerance * np.abs(expected).max()
    )


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16], ids=lambda dtype: dtype.__name__)
def test_a_rise_is_not_rounded_to_half_precision(dtype):
    """Of ``||w||^2 / 2`` at 100 ones: at most ``10 rho + rho^2 / 2``, and ``50 rho^2`` on average."""
    w, batch, rho = jnp.ones(100, dtype), jnp.ones((4, 1), dtype), 1e-3

    def loss(w, batch):
        return 0.5 * jnp.sum(w.astype(jnp.float32) ** 2) * jnp.mean(batch)

    average = curvature.average_sharpness(loss, w, batch, rho=rho, key=jax.random.key(0))
    assert abs(average.value - 50 * rho**2) < 3 * average.standard_error < 25 * rho**2
    worst = curvature.worst_case_sharpness(loss, w, batch, rho=rho, m=None)
    assert worst.value == pytest.approx(10 * rho + rho**2 / 2, abs=3 * worst.rounding)
    line = curvature.landscape(loss, w, batch, [w], span=rho, points=3)
    np.testing.assert_allclose(line.losses, 50 * (1 + line.offsets) ** 2, rtol=1e-6)


def test_data_in_half_precision_follow_the_parameters():
    """``lax.mul`` takes two arrays of one type only, as convolutions do."""
    w, batch = jnp.ones(3, jnp.bfloat16), jnp.full((2, 3), 2, jnp.bfloat16)
    operator = curvature.hessian(
        lambda w, batch: jnp.mean(jax.lax.mul(batch, jnp.broadcast_to(w, batch.shape)) ** 2), w, batch
    )
    np.testing.assert_allclose(operator.dense(), 8 / 3 * np.eye(3), rtol=1e-6)


def test_products_are_as_precise_as_their_type():
    """Some accelerators round the factors of float32 else."""
    inputs = jnp.ones((4, 3), jnp.float32)
    operator = curvature.hessian(lambda w, batch: jnp.mean((batch @ w) ** 2), jnp.ones(3, jnp.float32), inputs)
    for function, argument in ((operator.__matmul__, inputs[0]), (sound, inputs)):
        program = str(jax.make_jaxpr(function)(argument))
        assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0


def test_complex_parameters_are_refused_by_name():
    params = {"real": jnp.ones(2), "other": jnp.ones(3, jnp.complex64)}
    with pytest.raises(ValueError, match=r"params\['other'\] must be real, got dtype complex64"):
        curvature.hessian(lambda params, batch: jnp.sum(params["real"]) * jnp.mean(batch), params, TWO)


def test_a_direction_in_half_precision_has_the_norms_of_the_filters():
    direction = curvature.filter_normalized_direction(jnp.full((2, 512), 1e-4, jnp.float16), key=jax.random.key(0))
    norms = np.linalg.norm(np.asarray(direction, np.float64), axis=1)
    np.testing.assert_allclose(norms, 1e-4 * 512**0.5, rtol=5e-3)


def test_a_rise_below_the_rounding_of_the_loss_is_within_its_error():
    """E[L(w + e) - L(w)] = rho^2 / 2 trace; of a loss of 10 in single precision, 5e-7 cannot be told from nothing."""
    random = np.random.default_rng(0)
    inputs = jnp.asarray(random.normal(size=(64, 50)), jnp.float32)
    targets = jnp.asarray(3 + random.normal(size=64), jnp.float32)

    def loss(w, batch):
        return jnp.mean((batch[0] @ w - batch[1]) ** 2)

    batch, w = (inputs, targets), jnp.zeros(50, jnp.float32)
    trace = 2 * float((inputs**2).sum()) / 64
    for rho in (1e-4, 1e-2):
        found = curvature.average_sharpness(loss, w, batch, rho=rho, key=jax.random.key(0))
        assert abs(found.value - rho**2 / 2 * trace) < 3 * found.standard_error
    assert found.standard_error < 0.1 * found.value
    worst = curvature.worst_case_sharpness(loss, w, batch, rho=1e-7, m=None)
    slope = 2 / 64 * np.linalg.norm(inputs.T @ -targets)
    assert abs(worst.value - 1e-7 * slope) < 2 * worst.rounding
    assert worst.rounding > 1e-7 * slope
    halves = curvature.worst_case_sharpness(loss, w, batch, rho=1e-7, m=32)
    assert halves.standard_error >= halves.rounding > 1e-7 * slope


def test_every_function_that_draws_names_what_is_no_key(monkeypatch):
    """As users call them: without the check of types that tests have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    w = jnp.ones(60, jnp.float32)
    of_loss = (curvature.trace, curvature.by_layer, curvature.top_eigenvalues)
    for call in (
        *(functools.partial(function, scaled_quadratic, w, TWO) for function in of_loss),
        functools.partial(curvature.spectral_density, scaled_quadratic, w, TWO, dimension=4),
        functools.partial(curvature.average_sharpness, scaled_quadratic, w, TWO, rho=0.1),
        functools.partial(curvature.constants, scaled_quadratic, [w], TWO),
        functools.partial(curvature.filter_normalized_direction, w),
    ):
        with pytest.raises(ValueError, match="key must be one key"):
            call(key=0)


@pytest.mark.parametrize("key", [0, None, jax.random.split(jax.random.key(0))], ids=["number", "none", "two keys"])
def test_what_is_no_key_is_named(key):
    with pytest.raises(ValueError, match=r"key must be one key, such as jax\.random\.key"):
        checked_key(key)
