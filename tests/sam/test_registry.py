import jax.numpy as jnp
import numpy as np
import pytest

from widebasin import sam


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sgd", sam.SGD()), ("sam", sam.SAM(rho=0.2)), ("unnormalized-sam", sam.SAM(rho=0.2, normalize=False))],
)
def test_names_build_the_method_at_the_radius(name, expected):
    assert sam.METHODS[name].with_radius(0.2) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("sgd", [3.0, 4.0]), ("sam", [3.3, 4.4]), ("unnormalized-sam", [4.5, 6])]
)
def test_names_compute_what_they_say(name, expected):
    """On 0.5 ||w||^2 at (3, 4) with radius 1/2."""
    method = sam.METHODS[name].with_radius(0.5)
    w = jnp.array([3.0, 4.0])
    _, gradient, _ = method.value_and_grad(lambda w: 0.5 * jnp.sum(w**2))(w, method.init(w))
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
