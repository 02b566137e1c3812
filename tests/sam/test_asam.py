import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from sam.family import (
    EVERYWHERE,
    EXAMPLES,
    MATRIX,
    POSITIVE_MATRICES,
    RADII,
    START,
    VECTORS,
    descent,
    descent_by_hand,
    descent_on_quadratic,
    each,
    gradient,
    gradient_on,
    length,
    problem,
    quadratic,
    tensors,
    vector,
)
from together import together

from widebasin import sam

pytestmark = pytest.mark.usefixtures("float64")


def asam_by_hand(rho, eta, adaptive=EVERYWHERE, shown=EVERYWHERE):
    def rule(t, w, batch):
        size = np.where(adaptive, np.abs(w) + eta, 1.0)
        g = np.where(shown, gradient(w, batch), 0.0)
        return gradient(w + rho * size**2 * g / length(size * g), batch)

    return rule


@given(matrix=POSITIVE_MATRICES, w=VECTORS, rho=RADII, eta=RADII)
def test_any_quadratic_matches_the_closed_form(matrix, w, rho, eta):
    g, size = matrix @ w, np.abs(w) + eta
    expected = matrix @ (w + rho * size**2 * g / length(size * g))
    np.testing.assert_allclose(gradient_on(matrix, w, sam.ASAM(rho, eta)), expected, rtol=1e-11, atol=1e-11)


@together(("rho", "eta"), [(0.5, 0.01), (2.0, 0.3), (1.0, 0.0)])
def test_gradient_matches_the_closed_form(rho, eta):
    np.testing.assert_allclose(
        descent_on_quadratic(sam.ASAM(rho, eta)), descent_by_hand(asam_by_hand(rho, eta)), rtol=1e-11
    )


def test_what_is_not_adaptive_is_perturbed_as_by_sam_under_the_joint_norm():
    def first_tensor(gradients):
        return {"a": True, "b": False}

    expected = descent_by_hand(asam_by_hand(0.5, 0.1, adaptive=np.arange(5) < 2))
    np.testing.assert_allclose(descent_on_quadratic(sam.ASAM(0.5, 0.1, adaptive=first_tensor)), expected, rtol=1e-11)


def test_adaptive_may_choose_single_entries():
    def entries(gradients):
        return {"a": jnp.array([True, False]), "b": jnp.array([False, True, True])}

    expected = descent_by_hand(asam_by_hand(0.5, 0.1, adaptive=np.array([True, False, False, True, True])))
    np.testing.assert_allclose(descent_on_quadratic(sam.ASAM(0.5, 0.1, adaptive=entries)), expected, rtol=1e-11)


@pytest.mark.slow
def test_adaptive_is_asked_once_with_the_gradients():
    """Chosen by the size of their gradients: those of the scaled ones would be others."""

    def rule(t, w, batch):
        g = gradient(w, batch)
        size = np.where(np.abs(g) > 1, np.abs(w) + 0.1, 1.0)
        return gradient(w + 0.5 * size**2 * g / length(size * g), batch)

    method = sam.ASAM(0.5, 0.1, adaptive=lambda gradients: jax.tree.map(lambda g: jnp.abs(g) > 1, gradients))
    np.testing.assert_allclose(descent_on_quadratic(method), descent_by_hand(rule), rtol=1e-11)


def test_masked_parameters_take_no_part_in_the_norm():
    expected = descent_by_hand(asam_by_hand(0.5, 0.1, shown=np.arange(5) >= 2))
    method = sam.ASAM(0.5, 0.1, mask=lambda gradients: {"a": False, "b": True})
    np.testing.assert_allclose(descent_on_quadratic(method), expected, rtol=1e-11)


def test_the_ascent_has_length_rho_in_its_own_norm_and_none_of_that_length_rises_more():
    """On a linear loss g'w, by Cauchy and Schwarz: g'e <= ||T g|| ||e / T|| for any e."""
    w, g, rho, eta = np.array([1.0, -2.0, 0.0, 0.25]), np.array([0.3, 1.0, -2.0, 0.1]), 0.7, 0.05
    points = []

    def loss(w):
        jax.debug.callback(lambda w: points.append(np.asarray(w)), w, ordered=True)
        return jnp.asarray(g) @ w

    sam.ASAM(rho, eta).value_and_grad(loss)(jnp.asarray(w), ())
    jax.effects_barrier()
    size, ascent = np.abs(w) + eta, points[1] - w
    np.testing.assert_allclose(np.linalg.norm(ascent / size), rho, rtol=1e-12)
    np.testing.assert_allclose(g @ ascent, rho * np.linalg.norm(size * g), rtol=1e-12)


@together("eta", [0.01, 0.5])
def test_nothing_adaptive_is_sam(eta):
    start = problem()
    method = sam.ASAM(0.3, eta, adaptive=lambda gradients: jax.tree.map(lambda _: False, gradients))
    expected = descent(sam.SAM(0.3), start.params, (), start.batches)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13),
        descent(method, start.params, (), start.batches),
        expected,
    )


def test_a_parameter_at_zero_stays_at_eta_zero_and_moves_above():
    w = np.array([0.0, 1.0, 0.0, 0.0, 0.0])
    x = np.array([[1.0, 1.0, 1.0, 1.0, 2.0]])
    g = MATRIX @ (w - x[0])

    def found(eta):
        def loss(params, x):
            offset = jnp.concatenate([params["a"], params["b"]]) - x[0]
            return 0.5 * offset @ MATRIX @ offset

        return vector(jax.jit(sam.ASAM(0.5, eta).value_and_grad(loss))(tensors(w), (), jnp.asarray(x))[1])

    still = np.linalg.solve(MATRIX, found(0.0)) + x[0] - w
    np.testing.assert_allclose(still, [0, 0.5 * np.sign(g[1]), 0, 0, 0], atol=1e-12)
    moving = np.linalg.solve(MATRIX, found(0.1)) + x[0] - w
    assert np.all(np.abs(moving) > 1e-3)


# Kwon et al. 2021: invariance under the rescaling of layers that leaves a ReLU network the same function.

SCALES = {"first": 3.0, "bias": 3.0, "second": 1 / 3.0 * 0.5, "third": 2.0}


def relu_loss(params, inputs, targets):
    hidden = jax.nn.relu(inputs @ params["first"].T + params["bias"])
    return jnp.mean((jax.nn.relu(hidden @ params["second"].T) @ params["third"] - targets) ** 2)


def relu_problem():
    random = np.random.default_rng(3)
    shapes = {"first": (6, 4), "bias": (6,), "second": (5, 6), "third": (5,)}
    params = {name: jnp.asarray(random.normal(size=shape)) for name, shape in shapes.items()}
    return params, (jnp.asarray(random.normal(size=(20, 4))), jnp.asarray(random.normal(size=20)))


def rescaled(params, scales):
    return {name: scales[name] * leaf for name, leaf in params.items()}


def difference_under_rescaling(method):
    """The largest difference between the gradient of the rescaled network, in the old units, and that of the other."""
    params, batch = relu_problem()
    function = jax.jit(method.value_and_grad(relu_loss))
    value, before, _ = function(params, method.init(params), *batch)
    scaled_value, after, _ = function(rescaled(params, SCALES), method.init(params), *batch)
    np.testing.assert_allclose(scaled_value, value, rtol=1e-12)
    differences = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), rescaled(after, SCALES), before)
    return max(differences.values())


def test_at_eta_zero_rescaled_layers_are_perturbed_alike():
    """The ascent point is that of the network before, rescaled: so are the gradients there, by the inverse scales."""
    assert difference_under_rescaling(sam.ASAM(0.5, 0.0)) < 1e-10


ADAPTIVE = {
    "GSAM": sam.GSAM(0.5, 0.0, adaptive=True),
    "LookSAM": sam.LookSAM(0.5, 1, adaptive=True),
    "ESAM": sam.ESAM(0.5, 1.0, 1.0, adaptive=True),
    "friendly SAM": sam.FriendlySAM(0.5, 0.0, adaptive=True),
    "WSAM": sam.WSAM(0.5, 0.5, adaptive=True),
}


@pytest.mark.slow
@each(ADAPTIVE)
def test_where_a_method_is_sam_its_adaptive_ascent_is_asam(method):
    expected = descent_by_hand(asam_by_hand(0.5, 0.0))
    np.testing.assert_allclose(descent_on_quadratic(method), expected, rtol=1e-10)


@pytest.mark.slow
def test_of_the_adaptive_ascent_esam_moves_the_chosen_tensors():
    """By 1 / beta of what ASAM moves them by, with the norm of all; the point is found from the gradient there."""
    mean = EXAMPLES[0].mean(0)
    g = gradient(START, EXAMPLES[0])
    whole = 0.5 / 0.6 * START**2 * g / np.linalg.norm(START * g)
    method, chosen = sam.ESAM(0.5, 0.6, 1.0, adaptive=True), set()
    for seed in range(8):
        _, found, _ = method.value_and_grad(quadratic)(tensors(START), (), EXAMPLES[0], key=jax.random.key(seed))
        moved = mean + np.linalg.solve(MATRIX, vector(found)) - START
        here = np.abs(moved) > 1e-9
        chosen.add(tuple(here))
        np.testing.assert_allclose(moved, np.where(here, whole, 0), atol=1e-9)
    assert len(chosen) > 2


@pytest.mark.slow
@together("method", [sam.SAM(0.5), sam.ASAM(0.5, 0.1), sam.GSAM(0.5, 0.0)], ids=["SAM", "ASAM with eta", "GSAM"])
def test_others_are_not_invariant(method):
    assert difference_under_rescaling(method) > 1e-2


@together("eta", [-0.1, float("nan"), float("inf")])
def test_eta_is_refused_by_name_and_value(eta):
    with pytest.raises(ValueError, match=f"eta must be a finite number >= 0, got {eta}"):
        sam.ASAM(0.5, eta)
