import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import (
    EVERYWHERE,
    descent,
    descent_by_hand,
    descent_on_quadratic,
    gradient,
    length,
    loss,
    problem,
    sam_by_hand,
)
from together import together

from widebasin import sam

pytestmark = pytest.mark.usefixtures("float64")

WHOLE, BY_TENSOR = [slice(0, 5)], [slice(0, 2), slice(2, 5)]
SHOWN = np.arange(5) >= 2


def every_k_by_hand(rho, k, normalize=True):
    perturbed = sam_by_hand(rho, normalize)
    return lambda t, w, batch: perturbed(t, w, batch) if t % k == 0 else gradient(w, batch)


def looksam_by_hand(rho, k, alpha, parts=WHOLE, shown=EVERYWHERE):
    kept = np.zeros(5)

    def rule(t, w, batch):
        nonlocal kept
        g = gradient(w, batch)
        if t % k == 0:
            masked = np.where(shown, g, 0.0)
            perturbed = gradient(w + rho * masked / length(masked), batch)
            kept = np.concatenate([perturbed[i] - (perturbed[i] @ g[i]) / (g[i] @ g[i]) * g[i] for i in parts])
            return perturbed
        return np.concatenate([g[i] + alpha * length(g[i]) * kept[i] / length(kept[i]) for i in parts])

    return rule


@together("normalize", [True, False])
@together("k", [2, 5])
def test_sam_every_k_matches_the_closed_form(k, normalize):
    expected = descent_by_hand(every_k_by_hand(0.5, k, normalize))
    np.testing.assert_allclose(descent_on_quadratic(sam.SAMEveryK(0.5, k, normalize=normalize)), expected, rtol=1e-11)


@together(("parts", "per_tensor"), [(WHOLE, False), (BY_TENSOR, True)], ids=["whole", "by tensor"])
@together(("rho", "k", "alpha"), [(0.5, 2, 0.7), (2.0, 5, 1.5)])
def test_looksam_matches_the_closed_form(rho, k, alpha, parts, per_tensor):
    expected = descent_by_hand(looksam_by_hand(rho, k, alpha, parts))
    method = sam.LookSAM(rho, k, alpha, per_tensor=per_tensor)
    np.testing.assert_allclose(descent_on_quadratic(method), expected, rtol=1e-9)


def test_the_mask_of_looksam_restricts_the_ascent_and_not_the_decomposition():
    expected = descent_by_hand(looksam_by_hand(0.5, 3, 0.7, shown=SHOWN))
    method = sam.LookSAM(0.5, 3, 0.7, mask=lambda gradients: {"a": False, "b": True})
    np.testing.assert_allclose(descent_on_quadratic(method), expected, rtol=1e-9)


def test_what_looksam_keeps_is_orthogonal_to_the_clean_gradient_and_makes_it_the_perturbed_one():
    start = problem()
    method = sam.LookSAM(0.3, 3)
    _, state, _ = descent(method, start.params, method.init(start.params), start.batches[:1])

    def first(method):
        return jnp.concatenate([jnp.ravel(g) for g in jax.tree.leaves(outputs(method))])

    def outputs(method):
        return descent(method, start.params, method.init(start.params), start.batches[:1])[2][0][1]

    kept = jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(state.orthogonal)])
    clean, perturbed = first(sam.SGD()), first(sam.SAM(0.3))
    np.testing.assert_allclose(kept @ clean, 0, atol=1e-14)
    np.testing.assert_allclose(kept + (perturbed @ clean) / (clean @ clean) * clean, perturbed, rtol=1e-11)


@together(
    "method",
    [sam.LookSAM(0.3, 1), sam.LookSAM(0.3, 1, per_tensor=True), sam.SAMEveryK(0.3, 1)],
    ids=["LookSAM", "LookSAM by tensor", "SAM every k"],
)
def test_k_one_is_sam(method):
    start = problem()
    params, _, outputs = descent(sam.SAM(0.3), start.params, (), start.batches)
    after, _, found = descent(method, start.params, method.init(start.params), start.batches)
    # To the last bit, but where the rounding of norms tensor by tensor depends on the program.
    rounding = 1e-12 if getattr(method, "per_tensor", False) else 0.0
    assert eqx.tree_equal((after, found), (params, outputs), rtol=rounding, atol=rounding)


def test_sam_every_step_unnormalized_is_unnormalized_sam():
    np.testing.assert_array_equal(
        descent_on_quadratic(sam.SAMEveryK(0.3, 1, normalize=False)), descent_on_quadratic(sam.SAM(0.3, False))
    )


@pytest.mark.slow
@together("per_tensor", [False, True])
@together("compiled", [True, False], ids=["jit", "eager"])
def test_looksam_at_radius_zero_is_the_plain_gradient(per_tensor, compiled):
    """SAM adds nothing to use again. Rounding errors of what it adds must not be taken for a direction."""
    start = problem()
    method = sam.LookSAM(0.0, 2, per_tensor=per_tensor)
    function = method.value_and_grad(loss)
    plain = jax.grad(loss)
    if compiled:
        function, plain = jax.jit(function), jax.jit(plain)
    state = method.init(start.params)
    for batch in start.batches[:4]:
        _, found, state = function(start.params, state, *batch)
        expected = plain(start.params, *batch)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), found, expected)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.orthogonal))


@pytest.mark.slow
@together("per_tensor", [False, True])
def test_where_the_perturbed_gradient_is_parallel_looksam_uses_nothing_again(per_tensor):
    """On ``||w||^2 / 2``, and for any tensor of one entry, ``v`` is zero but for rounding."""
    w = {"many": jnp.asarray(np.random.default_rng(0).normal(size=50)), "one": jnp.asarray(0.3)}
    method = sam.LookSAM(0.7, 2, per_tensor=per_tensor)

    def half_square_norm(w):
        return 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(w))

    function = method.value_and_grad(half_square_norm)
    _, _, state = function(w, method.init(w))
    _, between, _ = function(w, state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), between, w)


@together("method", [sam.LookSAM(0.3, 3), sam.SAMEveryK(0.3, 3)], ids=["LookSAM", "SAM every k"])
def test_a_step_given_takes_the_place_of_the_count(method):
    start = problem()
    batch, function = start.batches[0], jax.jit(method.value_and_grad(loss))
    state = method.init(start.params)
    _, perturbed, _ = jax.jit(sam.SAM(0.3).value_and_grad(loss))(start.params, (), *batch)
    _, clean, _ = jax.jit(sam.SGD().value_and_grad(loss))(start.params, (), *batch)
    for given in range(7):
        _, found, after = function(start.params, state, *batch, step=given)
        expected = perturbed if given % 3 == 0 else clean  # nothing is kept yet
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), found, expected)
        assert int(after.count) == 1
    assert not np.allclose(perturbed["out"], clean["out"])


@pytest.mark.slow
@together("method", [sam.LookSAM(0.3, 3), sam.SAMEveryK(0.3, 3)], ids=["LookSAM", "SAM every k"])
def test_networks_trained_together_take_the_second_gradient_only_where_it_is_used(method):
    """Under ``vmap`` a branch on the networks' own counts takes both sides; on a step that all share it does not."""
    start = problem()
    batch, together = start.batches[0], 4
    params = jax.tree.map(lambda leaf: jnp.stack([leaf * (1 + i) for i in range(together)]), start.params)
    states = jax.vmap(method.init)(params)
    runs = []

    def counted(params, inputs, targets):
        jax.debug.callback(lambda _: runs.append(1), params["bias"][0])
        return loss(params, inputs, targets)

    function = method.value_and_grad(counted)

    def shared(step):
        return jax.vmap(lambda params, state: function(params, state, *batch, step=step))(params, states)

    def own():
        return jax.vmap(lambda params, state: function(params, state, *batch))(params, states)

    def runs_of(function, *args):
        runs.clear()
        result = jax.block_until_ready(jax.jit(function)(*args))
        jax.effects_barrier()
        return len(runs) / together, result

    with_step, (_, at_zero, _) = runs_of(shared, 0)
    between, _ = runs_of(shared, 1)
    assert (with_step, between) == (2, 1)
    assert "cond[" in str(jax.make_jaxpr(shared)(0))
    assert "cond[" not in str(jax.make_jaxpr(own)())
    _, (_, by_count, _) = runs_of(own)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), at_zero, by_count)


@together("make", [sam.LookSAM, sam.SAMEveryK])
@together("k", [0, -1])
def test_k_is_refused_by_name_and_value(make, k):
    with pytest.raises(ValueError, match=f"k must be a whole number of at least 1, got {k}"):
        make(0.5, k)


@together("alpha", [-0.1, float("nan"), float("inf")])
def test_alpha_is_refused_by_name_and_value(alpha):
    with pytest.raises(ValueError, match=f"alpha must be a finite number >= 0, got {alpha}"):
        sam.LookSAM(0.5, alpha=alpha)
