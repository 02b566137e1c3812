import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import descent, descent_on_quadratic, length, loss, problem
from together import together

from widebasin import sam

pytestmark = pytest.mark.usefixtures("float64")


def dense_model(center, batch):
    """Gradient and Hessian of the batch loss at the center: vector and matrix."""
    flat, unravel = jax.flatten_util.ravel_pytree(center)

    def of_flat(w):
        return loss(unravel(w), *batch)

    return jax.tree.map(np.asarray, jax.jit(lambda w: (jax.grad(of_flat)(w), jax.hessian(of_flat)(w)))(flat))


def flattened(tree):
    return np.asarray(jax.flatten_util.ravel_pytree(tree)[0])


@pytest.mark.slow
@together("normalize", [False, True])
@together("fixed_point", [False, True])
def test_gradient_matches_the_dense_quadratic_model(normalize, fixed_point):
    """``q(w + rho q(w))`` with ``q(w) = g(c) + H(c) (w - c)``, on another batch at every step and away from ``c``."""
    start = problem()
    method = sam.LinearizedSAM(0.3, normalize, fixed_point)
    center, state = start.params, method.init(start.params)
    params = jax.tree.map(lambda leaf: leaf + 0.1, center)
    for batch in start.batches[:3]:
        offset = flattened(params) - flattened(center)
        at_center, hessian = dense_model(center, batch)
        clean = hessian @ offset + (0 if fixed_point else at_center)
        ascent = 0.3 * clean / (length(clean) if normalize else 1.0)
        expected_value = loss(params, *batch)
        params, state, [(value, found)] = descent(method, params, state, [batch])
        np.testing.assert_allclose(flattened(found), clean + hessian @ ascent, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(value, expected_value, rtol=1e-12)


def test_masked_parameters_stay_out_of_the_ascent_and_not_out_of_the_model():
    start = problem()
    method = sam.LinearizedSAM(0.3, True, mask=sam.by_path("out", exclude=True))
    params = jax.tree.map(lambda leaf: leaf + 0.1, start.params)
    at_center, hessian = dense_model(start.params, start.batches[0])
    clean = at_center + hessian @ (flattened(params) - flattened(start.params))
    shown = flattened({name: jnp.full_like(leaf, name != "out") for name, leaf in params.items()})
    _, _, [(_, found)] = descent(method, params, method.init(start.params), start.batches[:1])
    expected = clean + hessian @ (0.3 * shown * clean / length(shown * clean))
    np.testing.assert_allclose(flattened(found), expected, rtol=1e-11, atol=1e-13)


@together("normalize", [False, True])
def test_on_a_quadratic_it_is_sam(normalize):
    np.testing.assert_allclose(
        descent_on_quadratic(sam.LinearizedSAM(0.3, normalize)),
        descent_on_quadratic(sam.SAM(0.3, normalize)),
        rtol=1e-11,
    )


def test_radius_zero_is_the_gradient_of_the_model_and_at_the_center_the_plain_one():
    start = problem()
    method, batch = sam.LinearizedSAM(0.0), start.batches[0]
    at_center, hessian = dense_model(start.params, batch)
    _, _, [(_, found)] = descent(method, start.params, method.init(start.params), [batch])
    np.testing.assert_allclose(flattened(found), at_center, rtol=1e-12)
    away = jax.tree.map(lambda leaf: leaf - 0.2, start.params)
    _, _, [(_, found)] = descent(method, away, method.init(start.params), [batch])
    np.testing.assert_allclose(flattened(found), at_center - hessian @ np.full(12, 0.2), rtol=1e-11, atol=1e-13)


def test_the_first_order_in_rho_is_that_of_unnormalized_sam_at_the_center():
    """Both are ``g + rho H g`` there: halving ``rho`` quarters the difference."""
    start = problem()
    batch = start.batches[:1]

    def difference(rho):
        center = start.params
        _, _, [(_, model)] = descent(sam.LinearizedSAM(rho), center, sam.LinearizedSAM().init(center), batch)
        _, _, [(_, itself)] = descent(sam.SAM(rho, normalize=False), center, (), batch)
        return np.linalg.norm(flattened(model) - flattened(itself))

    differences = np.array([difference(rho) for rho in (4e-3, 2e-3, 1e-3)])
    np.testing.assert_allclose(np.log2(differences[:-1] / differences[1:]), 2, atol=0.05)


def test_around_a_fixed_point_the_process_is_linear_in_the_offset():
    start = problem()
    method = sam.LinearizedSAM(0.3, fixed_point=True)
    state, direction = method.init(start.params), problem(seed=1).params

    def found(scale):
        params = jax.tree.map(lambda c, d: c + scale * d, start.params, direction)
        return flattened(descent(method, params, state, start.batches[:1])[2][0][1])

    np.testing.assert_allclose(found(2.0), 2 * found(1.0), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found(-1.0), -found(1.0), rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(found(0.0), np.zeros(12))


def test_the_center_is_a_copy():
    """Of a compiled step that donates parameters and state, neither may own the other's memory."""
    params = problem().params
    center = sam.LinearizedSAM().init(params).center
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((params, center))]
    assert len(set(pointers)) == len(pointers)
