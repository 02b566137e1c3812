import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import EVERYWHERE, EXAMPLES, descent, descent_by_hand, descent_on_quadratic, gradient, length, problem
from together import together

from widebasin import sam

pytestmark = pytest.mark.usefixtures("float64")


def friendly_by_hand(rho, sigma, decay, subtract, shown=EVERYWHERE):
    average = np.zeros(5)

    def rule(t, w, batch):
        nonlocal average
        g, previous = gradient(w, batch), average
        average = decay * previous + (1 - decay) * g
        direction = np.where(shown, g - sigma * (average if subtract == "updated" else previous), 0.0)
        return gradient(w + rho * direction / length(direction), batch)

    return rule


@together("subtract", ["updated", "previous"])
@together(("rho", "sigma", "decay"), [(0.5, 1.0, 0.9), (2.0, 0.3, 0.5), (0.5, -1.0, 0.9)])
def test_gradient_matches_the_closed_form(rho, sigma, decay, subtract):
    expected = descent_by_hand(friendly_by_hand(rho, sigma, decay, subtract))
    method = sam.FriendlySAM(rho, sigma, decay, subtract=subtract)
    np.testing.assert_allclose(descent_on_quadratic(method), expected, rtol=1e-11)


def test_the_mask_restricts_the_ascent():
    expected = descent_by_hand(friendly_by_hand(0.5, 1.0, 0.9, "updated", shown=np.arange(5) >= 2))
    method = sam.FriendlySAM(0.5, mask=lambda gradients: {"a": False, "b": True})
    np.testing.assert_allclose(descent_on_quadratic(method), expected, rtol=1e-11)


def test_the_average_is_that_of_the_clean_gradients():
    start = problem()
    method = sam.FriendlySAM(0.3, decay=0.8)
    params, state = start.params, method.init(start.params)
    expected = jax.tree.map(jnp.zeros_like, params)
    for batch in start.batches:
        clean = descent(sam.SGD(), params, (), [batch])[2][0][1]
        expected = jax.tree.map(lambda a, g: 0.8 * a + 0.2 * g, expected, clean)
        params, state, _ = descent(method, params, state, [batch])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), state.average, expected)


@together("subtract", ["updated", "previous"])
def test_sigma_zero_is_sam_bit_for_bit(subtract):
    start = problem()
    params, _, outputs = descent(sam.SAM(0.3), start.params, (), start.batches)

    def of(method):
        after, _, found = descent(method, start.params, method.init(start.params), start.batches)
        return after, found

    assert eqx.tree_equal(of(sam.FriendlySAM(0.3, 0.0, subtract=subtract)), (params, outputs))
    assert not eqx.tree_equal(of(sam.FriendlySAM(0.3, 0.5, subtract=subtract)), (params, outputs))


def test_the_first_step_is_sam():
    """The average is along the first gradient, or zero."""
    for subtract in ("updated", "previous"):
        np.testing.assert_allclose(
            descent_on_quadratic(sam.FriendlySAM(0.3, subtract=subtract), examples=EXAMPLES[:1]),
            descent_on_quadratic(sam.SAM(0.3), examples=EXAMPLES[:1]),
            rtol=1e-12,
        )


def test_without_memory_nothing_is_left_to_ascend_along():
    """``decay = 0`` averages over this gradient alone: with ``sigma = 1`` the direction is zero."""
    start = problem()
    _, _, outputs = descent(sam.FriendlySAM(0.3, 1.0, 0.0), start.params, _zero_state(start), start.batches)
    assert eqx.tree_equal(outputs, descent(sam.SGD(), start.params, (), start.batches)[2])


def _zero_state(start):
    return sam.FriendlySAM().init(start.params)


@together("decay", [-0.1, 1.0, float("nan")])
def test_decay_is_refused_by_name_and_value(decay):
    with pytest.raises(ValueError, match=rf"decay must be in \[0, 1\), got {decay}"):
        sam.FriendlySAM(0.5, decay=decay)


@together("sigma", [float("inf"), float("nan")])
def test_sigma_is_refused_by_name_and_value(sigma):
    with pytest.raises(ValueError, match=f"sigma must be a finite number; 0 is SAM, got {sigma}"):
        sam.FriendlySAM(0.5, sigma)
