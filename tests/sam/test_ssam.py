import equinox as eqx
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sam.family import (
    EVERYWHERE,
    EXAMPLES,
    MATRIX,
    START,
    descent,
    descent_by_hand,
    descent_on_quadratic,
    gradient,
    length,
    loss,
    problem,
    quadratic,
    tensors,
    vector,
)
from together import together

from widebasin import sam
from widebasin.sam._ssam import highest

pytestmark = pytest.mark.usefixtures("float64")

HIGHEST = jax.jit(highest, static_argnums=1)


def fisher(w, batch):
    """The mean over examples of the squared gradient of the example's loss."""
    return np.mean([(MATRIX @ (w - x)) ** 2 for x in batch], axis=0)


def ssam_by_hand(rho, kept, every, shown=EVERYWHERE):
    chosen = np.zeros(5, bool)

    def rule(t, w, batch):
        nonlocal chosen
        if t % every == 0:
            chosen = np.isin(np.arange(5), np.argsort(-fisher(w, batch))[:kept])
        g = np.where(shown, gradient(w, batch), 0.0)
        return gradient(w + rho * chosen * g / length(g), batch)

    return rule


@pytest.mark.slow
@together(("sparsity", "kept"), [(0.5, 2), (0.4, 3), (0.99, 0), (0.8, 1)])
@together("every", [1, 3])
def test_gradient_matches_the_closed_form(sparsity, kept, every):
    expected = descent_by_hand(ssam_by_hand(0.5, kept, every))
    np.testing.assert_allclose(descent_on_quadratic(sam.SSAM(0.5, sparsity, every=every)), expected, rtol=1e-11)


def test_the_choice_moves_so_that_the_test_above_can_fail():
    often, rarely = (descent_by_hand(ssam_by_hand(0.5, 2, every)) for every in (1, 3))
    assert not np.allclose(often, rarely)


def test_masked_parameters_stay_out_of_ascent_and_norm_even_where_chosen():
    expected = descent_by_hand(ssam_by_hand(0.5, 3, 2, shown=np.arange(5) >= 2))
    method = sam.SSAM(0.5, 0.4, every=2, mask=lambda gradients: {"a": False, "b": True})
    np.testing.assert_allclose(descent_on_quadratic(method), expected, rtol=1e-11)


@pytest.mark.slow
@together("scores", ["fisher", "random"])
def test_sparsity_zero_is_sam_bit_for_bit(scores):
    start = problem()
    params, _, outputs = descent(sam.SAM(0.3), start.params, (), start.batches)

    def of(method):
        after, _, found = descent(method, start.params, method.init(start.params), start.batches)
        return after, found

    assert eqx.tree_equal(of(sam.SSAM(0.3, 0.0, scores=scores)), (params, outputs))
    assert not eqx.tree_equal(of(sam.SSAM(0.3, 0.5, scores=scores)), (params, outputs))


def test_random_choices_hold_for_every_steps_and_have_the_size_asked_for():
    """Given the choice in the state, the gradient is the closed form."""
    method = sam.SSAM(0.5, 0.4, scores="random", every=3)
    function = jax.jit(method.value_and_grad(quadratic))
    w, state, choices = START, method.init(tensors(START)), []
    for t, batch in enumerate(EXAMPLES):
        _, found, state = function(tensors(w), state, batch, key=jax.random.key(t))
        choices.append(vector(state.perturbed))
        g = gradient(w, batch)
        np.testing.assert_allclose(vector(found), gradient(w + 0.5 * choices[-1] * g / length(g), batch), rtol=1e-12)
        w = w - 0.05 * vector(found)
    assert all(choice.sum() == 3 for choice in choices)
    changed = [t for t in range(1, len(choices)) if not np.array_equal(choices[t], choices[t - 1])]
    assert set(changed) == {3, 6}


def test_random_choices_take_every_parameter_alike():
    """Over 2,000 keys, 3 of 5 parameters: each is chosen with probability .6."""
    method, draws = sam.SSAM(0.5, 0.4, scores="random"), 2000
    params = tensors(START)

    def chosen(key):
        _, _, state = method.value_and_grad(quadratic)(params, method.init(params), jnp.asarray(EXAMPLES[0]), key=key)
        return jnp.concatenate([state.perturbed["a"], state.perturbed["b"]])

    frequency = np.mean(jax.jit(jax.vmap(chosen))(jax.random.split(jax.random.key(0), draws)), axis=0)
    assert np.all(np.abs(frequency - 0.6) < 4 * np.sqrt(0.6 * 0.4 / draws))


def test_a_step_given_takes_the_place_of_the_count():
    start = problem()
    method = sam.SSAM(0.3, every=3)
    fresh, function = method.init(start.params), jax.jit(method.value_and_grad(loss))
    for t in range(5):
        _, _, after = function(start.params, fresh, *start.batches[0], step=t)
        assert all(np.all(leaf) for leaf in jax.tree.leaves(after.perturbed)) == (t % 3 != 0)
        assert int(after.count) == 1


def test_of_equal_scores_the_first_are_chosen():
    method = sam.SSAM(0.5, 0.5)
    w = jnp.ones(6)
    function = jax.jit(method.value_and_grad(lambda w, x: 0.5 * jnp.sum(w**2) * jnp.mean(x)))
    _, _, state = function(w, method.init(w), jnp.ones(3))
    np.testing.assert_array_equal(state.perturbed, [True] * 3 + [False] * 3)


@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
@given(scores=hnp.arrays(float, 12, elements=st.sampled_from([0.0, 5e-324, 1e-200, 0.25, 0.5, 1e200, np.inf])))
def test_the_highest_scores_are_those_that_sorting_finds(sparsity, scores):
    """Ties included: a stable sort keeps the first of equal ones."""
    kept = {0.25: 9, 0.5: 6, 0.9: 1}[sparsity]
    expected = np.isin(np.arange(12), np.argsort(-scores, kind="stable")[:kept])
    with jax.enable_x64(True):
        chosen = HIGHEST({"a": jnp.asarray(scores[:4]).reshape(2, 2), "b": jnp.asarray(scores[4:])}, sparsity)
    np.testing.assert_array_equal(np.concatenate([np.ravel(chosen["a"]), chosen["b"]]), expected)


@pytest.mark.slow
@together(("size", "sparsity", "kept"), [(100, 0.9, 10), (10, 0.7, 3), (1000, 0.999, 1), (3, 0.5, 1)])
def test_the_number_chosen_is_not_changed_by_floating_point(size, sparsity, kept):
    """``(1 - 0.9) * 100`` is less than 10."""
    method = sam.SSAM(0.5, sparsity)
    w = jnp.arange(1.0, size + 1)
    function = jax.jit(method.value_and_grad(lambda w, x: 0.5 * jnp.sum(w**2) * jnp.mean(x)))
    _, _, state = function(w, method.init(w), jnp.ones(2))
    np.testing.assert_array_equal(state.perturbed, np.arange(size) >= size - kept)


def test_random_scores_need_a_key_and_fisher_scores_do_not():
    params, batch = tensors(START), jnp.asarray(EXAMPLES[0])
    method = sam.SSAM(0.5)
    assert jax.eval_shape(method.value_and_grad(quadratic), params, method.init(params), batch)
    method = sam.SSAM(0.5, scores="random")
    with pytest.raises(ValueError, match="SSAM draws random numbers: pass key="):
        jax.eval_shape(method.value_and_grad(quadratic), params, method.init(params), batch)


@together("sparsity", [-0.1, 1.0, 2.0, float("nan")])
def test_sparsity_is_refused_by_name_and_value(sparsity):
    with pytest.raises(ValueError, match=rf"sparsity must be a fraction in \[0, 1\); 0 is SAM, got {sparsity}"):
        sam.SSAM(0.5, sparsity)


def test_a_period_of_zero_steps_is_refused_by_name_and_value():
    with pytest.raises(ValueError, match="every must be a whole number of at least 1, got 0"):
        sam.SSAM(0.5, every=0)
