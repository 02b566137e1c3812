import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from curvature.problems import mean_loss, smooth_loss
from hypothesis import given, settings
from hypothesis import strategies as st

from widebasin import curvature

SIZE = 6


def quadratic(w, batch):
    """``mean_i (w^T A_i w / 2 + b_i . w)``: an example is a matrix and a vector."""
    matrices, vectors = batch
    return 0.5 * w @ matrices.mean(0) @ w + vectors.mean(0) @ w


def random_quadratics(seed, examples=4):
    rng = np.random.default_rng(seed)
    matrices = rng.normal(size=(examples, SIZE, SIZE))
    return matrices + np.swapaxes(matrices, 1, 2), rng.normal(size=(examples, SIZE)), rng.normal(size=SIZE)


def largest_rise(matrix, gradient, rho):
    """``max g . e + e^T H e / 2`` over the ball: ``(mu I - H) e = g`` with ``mu >= max(lambda_max(H), 0)``."""
    values, vectors = np.linalg.eigh(matrix)
    along = vectors.T @ gradient

    def length(mu):
        return np.linalg.norm(along / (mu - values))

    low = max(values[-1], 0.0)
    if values[-1] < 0 and length(0.0) <= rho:
        mu = 0.0
    else:
        mu = scipy.optimize.brentq(
            lambda mu: length(mu) - rho, low + 1e-12, low + 2 * np.linalg.norm(gradient) / rho + 1e-9, xtol=1e-14
        )
    best = along / (mu - values)
    return along @ best + 0.5 * (values * best) @ best


@pytest.mark.slow
@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), rho=st.floats(0.01, 3.0), shift=st.sampled_from([-20.0, 0.0, 20.0]))
def test_the_worst_case_of_a_quadratic_is_that_of_the_trust_region(seed, rho, shift):
    """Convex, concave and indefinite; at the boundary and inside."""
    matrices, vectors, w = random_quadratics(seed)
    matrices = matrices + shift * np.eye(SIZE)
    gradients = matrices @ w + vectors
    expected = np.array([largest_rise(a, g, rho) for a, g in zip(matrices, gradients, strict=True)])
    batch = (jnp.asarray(matrices), jnp.asarray(vectors))
    found = curvature.worst_case_sharpness(quadratic, jnp.asarray(w), batch, rho=rho, m=1, steps=200)
    np.testing.assert_allclose(found.groups, expected, rtol=5e-4)
    short = curvature.worst_case_sharpness(quadratic, jnp.asarray(w), batch, rho=rho, m=1, steps=20)
    assert (short.groups <= expected * (1 + 1e-9)).all()
    assert (short.groups >= 0.9 * expected).all()


def test_the_adaptive_ball_is_stretched_by_the_weights():
    """``c = |w|`` makes the gradient ``c g`` and the Hessian ``c H c``."""
    matrices, vectors, w = random_quadratics(1)
    c = np.abs(w)
    scaled = c[:, None] * matrices * c
    expected = [largest_rise(a, c * g, 0.5) for a, g in zip(scaled, matrices @ w + vectors, strict=True)]
    batch = (jnp.asarray(matrices), jnp.asarray(vectors))
    found = curvature.worst_case_sharpness(quadratic, jnp.asarray(w), batch, rho=0.5, m=1, steps=200, adaptive=True)
    np.testing.assert_allclose(found.groups, expected, rtol=5e-4)


def test_in_the_ball_of_the_largest_entry_the_worst_case_is_a_corner():
    """Of a convex loss that is a sum over entries: each goes to the end where it rises more."""
    spectrum, slope = np.array([0.0, 0.5, 1.0, 4.0]), np.array([1.0, -2.0, 0.1, 0.3])
    found = curvature.worst_case_sharpness(
        lambda w, batch: jnp.sum(batch.mean(0) * w**2 / 2 + slope * w),
        jnp.zeros(4),
        spectrum[None],
        rho=0.1,
        m=1,
        norm="l-infinity",
    )
    np.testing.assert_allclose(found.value, np.sum(0.1 * np.abs(slope) + 0.1**2 / 2 * spectrum), rtol=1e-6)
    with pytest.raises(ValueError, match="norm must be one of 'l2', 'l-infinity', got 'l1'"):
        curvature.worst_case_sharpness(quadratic, jnp.zeros(4), spectrum[None], rho=0.1, norm="l1")


def test_at_a_minimum_the_gradient_shows_no_direction_and_the_largest_eigenvalue_is_found():
    spectrum = jnp.array([0.0, 0.5, 1.0, 4.0])
    found = curvature.worst_case_sharpness(
        lambda w, batch: 0.5 * jnp.sum(batch.mean(0) * w**2), jnp.zeros(4), spectrum[None], rho=0.1, m=1
    )
    np.testing.assert_allclose(found.value, 0.5 * 0.1**2 * 4, rtol=1e-6)


def test_at_a_maximum_it_is_zero():
    found = curvature.worst_case_sharpness(
        lambda w, batch: -jnp.sum(w**2) * batch.mean(), jnp.zeros(3), jnp.ones(4), rho=0.1, m=2
    )
    np.testing.assert_array_equal(found.groups, [0.0, 0.0])


def test_groups_are_those_of_consecutive_examples_with_their_standard_error():
    matrices, vectors, w = random_quadratics(2)
    batch = (jnp.asarray(matrices), jnp.asarray(vectors))
    found = curvature.worst_case_sharpness(quadratic, jnp.asarray(w), batch, rho=0.3, m=2, steps=200)
    groups = [(matrices[i : i + 2].mean(0), vectors[i : i + 2].mean(0)) for i in (0, 2)]
    expected = [largest_rise(a, a @ w + b, 0.3) for a, b in groups]
    np.testing.assert_allclose(found.groups, expected, rtol=5e-4)
    assert found.value == found.groups.mean()
    np.testing.assert_allclose(found.standard_error, abs(found.groups[0] - found.groups[1]) / 2)
    whole = curvature.worst_case_sharpness(quadratic, jnp.asarray(w), batch, rho=0.3, m=None, steps=200)
    assert whole.groups.shape == (1,)
    assert np.isnan(whole.standard_error)
    assert whole.value <= found.value  # the maximum of a mean is at most the mean of the maxima


def relu_loss(params, batch):
    inputs, labels = batch
    hidden = jax.nn.relu(inputs @ params["first"] + params["bias"])
    logits = curvature.normalized_logits(hidden @ params["last"])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


@pytest.fixture(scope="module")
def relu_network():
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 5)
        params = {
            "first": jax.random.normal(keys[0], (4, 6)),
            "bias": jax.random.normal(keys[1], (6,)),
            "last": jax.random.normal(keys[2], (6, 3)),
        }
        return params, (jax.random.normal(keys[3], (16, 4)), jax.random.randint(keys[4], (16,), 0, 3))


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["worst", "average"])
def test_adaptive_sharpness_does_not_see_how_relu_layers_share_their_scale(relu_network, measure):
    params, batch = relu_network
    rescaled = {"first": 3 * params["first"], "bias": 3 * params["bias"], "last": params["last"] / 3}
    np.testing.assert_allclose(relu_loss(rescaled, batch), relu_loss(params, batch), rtol=1e-12)

    def sharpness(params, adaptive):
        if measure == "worst":
            return curvature.worst_case_sharpness(relu_loss, params, batch, rho=0.2, m=8, adaptive=adaptive).value
        return curvature.average_sharpness(
            relu_loss, params, batch, rho=0.2, key=jax.random.key(0), samples=10, adaptive=adaptive
        ).value

    np.testing.assert_allclose(sharpness(rescaled, True), sharpness(params, True), rtol=1e-8)
    assert abs(sharpness(rescaled, False) / sharpness(params, False) - 1) > 0.05


@pytest.mark.slow
def test_normalized_logits_do_not_see_their_scale(relu_network):
    """Nor does the loss, so its sharpness along the scale of the last layer is 0."""
    params, batch = relu_network
    np.testing.assert_allclose(relu_loss({**params, "last": 7 * params["last"]}, batch), relu_loss(params, batch))
    logits = jnp.array([[1.0, 2.0, 6.0], [-1.0, 0.5, 3.0]])
    normalized = np.asarray(curvature.normalized_logits(logits))
    np.testing.assert_allclose(normalized.std(-1), 1.0)
    np.testing.assert_allclose(normalized[0], np.array([1.0, 2.0, 6.0]) / np.sqrt((4 + 1 + 9) / 3))


@pytest.mark.slow
def test_constant_logits_stay_and_have_a_gradient():
    logits = jnp.full((2, 3), 0.7)
    np.testing.assert_array_equal(curvature.normalized_logits(logits), logits)
    gradient = jax.grad(lambda f: curvature.normalized_logits(f)[:, 0].sum())(logits)
    np.testing.assert_array_equal(gradient, jnp.zeros((2, 3)).at[:, 0].set(1.0))


@pytest.mark.slow
def test_a_change_of_radius_compiles_nothing(classifier):
    traces = []

    def loss(params, batch):
        traces.append(1)
        return mean_loss(params, batch)

    def once(rho):
        before = len(traces)
        worst = curvature.worst_case_sharpness(loss, classifier.params, classifier.batch, rho=rho, m=None).value
        average = curvature.average_sharpness(
            loss, classifier.params, classifier.batch, rho=rho, key=jax.random.key(0)
        ).value
        return worst, average, len(traces) - before

    first, second = once(0.1), once(0.2)
    assert second[2] == 3  # the checks that the loss is a scalar, and of which type
    assert second[0] > first[0] > 0
    assert second[1] != first[1]


def test_the_average_of_a_quadratic_is_half_the_trace():
    """``rho^2 / 2 tr(c H c)``: of 60 estimates about 95% lie within two standard errors; 80% would be 5 sigma."""
    matrices, vectors, w = random_quadratics(3)
    batch, hessian = (jnp.asarray(matrices), jnp.asarray(vectors)), matrices.mean(0)
    for adaptive, trace in ((False, np.trace(hessian)), (True, np.diag(hessian) @ w**2)):
        found = [
            curvature.average_sharpness(
                quadratic, jnp.asarray(w), batch, rho=0.7, key=jax.random.key(seed), samples=40, adaptive=adaptive
            )
            for seed in range(60)
        ]
        errors = np.array([(one.value - 0.7**2 / 2 * trace) / one.standard_error for one in found])
        assert np.mean(np.abs(errors) < 2) > 0.8
        assert abs(errors.mean()) < 5 / np.sqrt(60)


@pytest.mark.slow
def test_the_average_for_a_small_radius_is_half_the_trace(network):
    options = {"rho": 1e-3, "key": jax.random.key(0), "samples": 400}
    found = curvature.average_sharpness(smooth_loss, network.params, network.batch, **options, chunk_size=10)
    assert abs(found.value - 1e-6 / 2 * np.trace(network.hessian)) < 5 * found.standard_error
    assert found.standard_error < 0.2 * abs(found.value)
    assert found.value == found.samples.mean()
    whole = curvature.average_sharpness(smooth_loss, network.params, network.batch, **options)
    np.testing.assert_allclose(found.samples, whole.samples, rtol=1e-6, atol=1e-13)


def test_a_gradient_adds_no_noise_to_the_average():
    found = curvature.average_sharpness(
        lambda w, batch: batch.mean() * jnp.sum(w), jnp.ones(5), jnp.ones(3), rho=0.5, key=jax.random.key(0)
    )
    np.testing.assert_allclose(found.samples, 0, atol=1e-14)


@pytest.mark.slow
def test_half_precision_under_strict_promotion():
    spectrum, w = jnp.array([[0.5, 1.0, 4.0]], jnp.bfloat16), jnp.zeros(3, jnp.bfloat16)

    def loss(w, batch):
        return jnp.sum(batch.mean(0) * w**2) / 2

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        worst = curvature.worst_case_sharpness(loss, w, spectrum, rho=0.5, m=1)
        average = curvature.average_sharpness(loss, w, spectrum, rho=0.5, key=jax.random.key(0))
    np.testing.assert_allclose(worst.value, 0.5, rtol=0.02)
    assert abs(average.value - 0.5**2 / 2 * 5.5) < 5 * average.standard_error


def test_only_the_chosen_arrays_move():
    def loss(params, batch):
        return batch.mean() * (jnp.sum(params["a"] ** 2) + 100 * jnp.sum(params["b"] ** 2))

    params, batch = {"a": jnp.zeros(2), "b": jnp.zeros(2)}, jnp.ones(2)
    found = curvature.worst_case_sharpness(loss, params, batch, rho=0.1, m=2, where=lambda path, _: path == "['a']")
    np.testing.assert_allclose(found.value, 0.01, rtol=1e-9)
    average = curvature.average_sharpness(
        loss, params, batch, rho=0.1, key=jax.random.key(0), where=lambda path, _: path == "['a']"
    )
    assert abs(average.value - 0.1**2 * 2) < 5 * average.standard_error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 0.0}, "rho must be a finite number > 0, got 0.0"),
        ({"rho": -1.0}, "rho"),
        ({"rho": float("nan")}, "rho"),
        ({"m": 10}, "m must divide the 23 examples into groups, or be None for all of them, got 10"),
        ({"m": 0}, "m must divide"),
        ({"steps": 0}, "steps"),
    ],
)
def test_a_worst_case_that_cannot_be_is_refused(classifier, options, message):
    with pytest.raises(ValueError, match=message):
        curvature.worst_case_sharpness(
            mean_loss, classifier.params, classifier.batch, **{"rho": 0.1, "m": None, **options}
        )


@pytest.mark.parametrize(("options", "message"), [({"rho": 0.0}, "rho"), ({"samples": 1}, "samples")])
def test_an_average_that_cannot_be_is_refused(classifier, options, message):
    with pytest.raises(ValueError, match=message):
        curvature.average_sharpness(
            mean_loss, classifier.params, classifier.batch, **{"rho": 0.1, "key": jax.random.key(0), **options}
        )


@pytest.mark.slow
def test_a_loss_that_overflows_within_the_radius_is_refused():
    def loss(w, batch):
        return jnp.exp(jnp.sum(w)) * batch.mean()

    with pytest.raises(ValueError, match="not finite within this radius"):
        curvature.worst_case_sharpness(loss, jnp.ones(2), jnp.ones(2), rho=1e4, m=2)
    with pytest.raises(ValueError, match="not finite within this radius"):
        curvature.average_sharpness(loss, jnp.ones(2), jnp.ones(2), rho=1e4, key=jax.random.key(0))
