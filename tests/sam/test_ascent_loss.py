"""An ascent along another loss: closed forms, groups, auxiliary data, methods that can and cannot."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import ONE_OF_EACH

from widebasin import sam

RHO = 0.3
W = {"a": np.array([1.0, -2.0, 0.5]), "b": np.array([0.7, -0.1])}
X = np.random.default_rng(2).normal(size=(8, 5))


def loss(w, x):
    """A quartic function of ``x . w`` and a quadratic one of a part of the parameters, example by example."""
    outputs = x @ jnp.concatenate([w["a"], w["b"]])
    return jnp.mean(outputs**4) + jnp.sum(w["b"] ** 2), {"outputs": outputs.mean()}


def climbed(w, x):
    return jnp.mean(jnp.sin(x @ jnp.concatenate([w["a"], w["b"]])))


def by_hand(w, x, adaptive):
    """With the gradients of the single terms written out; ``T`` is ``|w| + eta`` for ASAM."""
    flat = np.concatenate([w["a"], w["b"]])
    g = x.T @ np.cos(x @ flat) / len(x)
    scale = np.abs(flat) + 0.01 if adaptive else 1.0
    point = flat + RHO * scale**2 * g / np.linalg.norm(scale * g)
    gradient = 4 * x.T @ (x @ point) ** 3 / len(x)
    gradient[3:] += 2 * point[3:]
    return {"a": gradient[:3], "b": gradient[3:]}


@pytest.mark.parametrize("base", [jax.value_and_grad, eqx.filter_value_and_grad, sam.microbatched(2)])
@pytest.mark.parametrize("m", [None, 4])
@pytest.mark.parametrize("kind", [sam.SAM, sam.ASAM])
@pytest.mark.usefixtures("float64")
def test_the_gradient_is_that_of_the_loss_at_the_end_of_the_other_ascent(kind, m, base):
    method = kind(RHO, m=m)
    step = method.value_and_grad(loss, has_aux=True, base=base, ascent_loss=climbed)
    (value, aux), gradient, _ = jax.jit(step)(W, method.init(W), X)
    groups = [X] if m is None else [X[:4], X[4:]]
    expected = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *(by_hand(W, x, kind is sam.ASAM) for x in groups))
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-12), gradient, expected)
    np.testing.assert_allclose(value, loss(W, X)[0], rtol=1e-14)
    np.testing.assert_allclose(aux["outputs"], loss(W, X)[1]["outputs"], rtol=1e-12)


@pytest.mark.parametrize("method", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
@pytest.mark.usefixtures("float64")
def test_methods_that_need_the_gradient_for_more_than_the_ascent_refuse_it_and_others_agree_on_their_own_loss(method):
    plain = lambda w, x: loss(w, x)[0]  # noqa: E731
    if not method.takes_ascent_loss:
        with pytest.raises(ValueError, match=f"{type(method).__name__} uses the gradient at the parameters for more"):
            method.value_and_grad(plain, ascent_loss=plain)
        return
    key = jax.random.key(0)
    expected = method.value_and_grad(plain)(W, method.init(W), X, key=key)
    found = method.value_and_grad(plain, ascent_loss=plain)(W, method.init(W), X, key=key)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-13), found, expected)
    if not isinstance(method, sam.SAM | sam.ASAM):  # no ascent along a gradient
        found = method.value_and_grad(plain, ascent_loss=climbed)(W, method.init(W), X, key=key)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-13), found, expected)
