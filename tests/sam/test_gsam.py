import equinox as eqx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sam.family import (
    EVERYWHERE,
    POSITIVE_MATRICES,
    RADII,
    VECTORS,
    descent,
    descent_by_hand,
    descent_on_quadratic,
    gradient,
    gradient_on,
    length,
    problem,
)
from together import together

from widebasin import sam

pytestmark = pytest.mark.usefixtures("float64")


def without_part_along(vector, direction):
    unit = direction / length(direction)
    return vector - (vector @ unit) * unit


def gsam_by_hand(rho, alpha, shown=EVERYWHERE, adaptive=False):
    def rule(t, w, batch):
        g = gradient(w, batch)
        size = np.abs(w) if adaptive else np.ones(5)
        masked = np.where(shown, g, 0.0)
        perturbed = gradient(w + rho * size**2 * masked / length(size * masked), batch)
        return perturbed - alpha * without_part_along(g, perturbed)

    return rule


@pytest.mark.slow
@together("adaptive", [False, True])
@together(("rho", "alpha"), [(0.5, 0.1), (2.0, 1.5)])
def test_gradient_matches_the_closed_form(rho, alpha, adaptive):
    expected = descent_by_hand(gsam_by_hand(rho, alpha, adaptive=adaptive))
    np.testing.assert_allclose(descent_on_quadratic(sam.GSAM(rho, alpha, adaptive=adaptive)), expected, rtol=1e-10)


def test_the_mask_restricts_the_ascent_and_not_the_decomposition():
    expected = descent_by_hand(gsam_by_hand(0.5, 0.7, shown=np.arange(5) >= 2))
    method = sam.GSAM(0.5, 0.7, mask=lambda gradients: {"a": False, "b": True})
    np.testing.assert_allclose(descent_on_quadratic(method), expected, rtol=1e-11)


@given(matrix=POSITIVE_MATRICES, w=VECTORS, rho=RADII, alpha=st.floats(0, 2))
def test_what_is_added_to_sam_is_alpha_times_the_part_of_the_clean_gradient_orthogonal_to_it(matrix, w, rho, alpha):
    """``g_s - alpha g_o`` with ``g_o`` orthogonal to ``g_s``, the rest of ``g`` along it."""
    actual, perturbed = gradient_on(matrix, w, sam.GSAM(rho, alpha)), gradient_on(matrix, w, sam.SAM(rho))
    added, g = actual - perturbed, matrix @ w
    scale = 1e-12 * (1 + np.linalg.norm(g)) * (1 + np.linalg.norm(perturbed))
    assert abs(added @ perturbed) <= scale
    np.testing.assert_allclose(added, -alpha * without_part_along(g, perturbed), atol=1e-11 * (1 + np.linalg.norm(g)))


def test_alpha_zero_is_sam_bit_for_bit():
    start = problem()
    expected = descent(sam.SAM(0.3), start.params, (), start.batches)
    assert eqx.tree_equal(descent(sam.GSAM(0.3, 0.0), start.params, (), start.batches), expected)
    assert not eqx.tree_equal(descent(sam.GSAM(0.3, 0.1), start.params, (), start.batches), expected)


def test_radius_zero_is_the_plain_gradient_whatever_alpha():
    """The clean gradient has no part orthogonal to itself."""
    np.testing.assert_allclose(
        descent_on_quadratic(sam.GSAM(0.0, 5.0)), descent_by_hand(lambda t, w, batch: gradient(w, batch)), rtol=1e-12
    )


@together("alpha", [-0.1, float("nan"), float("inf")])
def test_alpha_is_refused_by_name_and_value(alpha):
    with pytest.raises(ValueError, match=f"alpha must be a finite number >= 0; 0 is SAM, got {alpha}"):
        sam.GSAM(0.5, alpha)
