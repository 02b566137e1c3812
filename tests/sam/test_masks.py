import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from together import together

from widebasin import sam

# Norms of the parts: kernel 5, bias 12, norm 3.
PARAMS = {
    "layer": {"kernel": jnp.array([[3.0, 4.0]]), "bias": jnp.array([12.0])},
    "norm": {"scale": jnp.array([1.0, 2.0]), "offset": jnp.array([2.0, 0.0])},
}


class Block(eqx.Module):
    """A model with layer normalization, a function and a number."""

    linear: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    activation: object
    slope: float

    def __init__(self, key):
        self.linear = eqx.nn.Linear(3, 4, key=key)
        self.norm = eqx.nn.LayerNorm(4)
        self.activation = jnp.tanh
        self.slope = 0.5

    def __call__(self, x):
        return self.slope * jnp.sum(self.activation(self.norm(self.linear(x))))


def half_square_norm(params):
    return 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def test_paths_of_a_dictionary_are_matched_anywhere():
    chosen = {"layer": {"kernel": False, "bias": False}, "norm": {"scale": True, "offset": True}}
    assert sam.by_path("norm")(PARAMS) == chosen
    assert sam.by_path("bias|scale")(PARAMS) == {
        "layer": {"kernel": False, "bias": True},
        "norm": {"scale": True, "offset": False},
    }
    assert sam.by_path(r"^\['layer'\]\['kernel'\]$")(PARAMS) == {
        "layer": {"kernel": True, "bias": False},
        "norm": {"scale": False, "offset": False},
    }


def test_exclude_takes_the_leaves_that_do_not_match():
    for pattern in ("norm", "bias|scale", "kernel"):
        chosen = sam.by_path(pattern)(PARAMS)
        assert sam.by_path(pattern, exclude=True)(PARAMS) == jax.tree.map(lambda keep: not keep, chosen)


def test_sam_on_perturbs_the_normalization_alone_under_its_own_norm():
    """0.5 ||w||^2: where w moves the gradient is w (1 + rho / 3), elsewhere w."""
    _, gradients = sam.value_and_grad(half_square_norm, rho=0.6, mask=sam.by_path("norm"))(PARAMS)
    jax.tree.map(np.testing.assert_array_equal, gradients["layer"], PARAMS["layer"])
    for name, leaf in PARAMS["norm"].items():
        np.testing.assert_allclose(gradients["norm"][name], 1.2 * leaf, rtol=1e-6)


@pytest.mark.slow
def test_sam_on_of_a_module_perturbs_its_layer_norm_alone():
    """Against the same loss as a function of the layer norm alone."""
    model = Block(jax.random.key(0))
    model = eqx.tree_at(lambda m: m.norm.bias, model, jnp.array([0.1, -0.2, 0.3, 0.0]))
    inputs = jax.random.normal(jax.random.key(1), (8, 3))

    def loss(model, inputs):
        return jnp.mean((jax.vmap(model)(inputs) - inputs[:, 0]) ** 2)

    method = sam.SAM(0.3, mask=sam.by_path(r"\.norm\."))
    _, gradients, _ = method.value_and_grad(loss, base=eqx.filter_value_and_grad)(model, (), inputs)
    _, of_norm = sam.value_and_grad(
        lambda norm, inputs: loss(eqx.tree_at(lambda m: m.norm, model, norm), inputs),
        rho=0.3,
        base=eqx.filter_value_and_grad,
    )(model.norm, inputs)
    np.testing.assert_allclose(gradients.norm.weight, of_norm.weight, rtol=1e-5)
    np.testing.assert_allclose(gradients.norm.bias, of_norm.bias, rtol=1e-5)

    clean = eqx.filter_grad(loss)(model, inputs)
    moved = sam.ascent_point(model, clean, 0.3, mask=sam.by_path(r"\.norm\."))
    np.testing.assert_array_equal(moved.linear.weight, model.linear.weight)
    at_ascent = eqx.filter_grad(loss)(moved, inputs)
    np.testing.assert_allclose(gradients.linear.weight, at_ascent.linear.weight, rtol=1e-5, atol=1e-7)


@together(
    ("mask", "chosen"),
    [
        (sam.by_dimensions(2), {".linear.weight"}),
        (sam.by_dimensions(most=1), {".linear.bias", ".norm.weight", ".norm.bias"}),
        (sam.by_dimensions(1, 1), {".linear.bias", ".norm.weight", ".norm.bias"}),
        (sam.by_dimensions(), {".linear.weight", ".linear.bias", ".norm.weight", ".norm.bias"}),
        (sam.by_dimensions(3), set()),
        (sam.by_path(r"\.weight"), {".linear.weight", ".norm.weight"}),
        (sam.by_path("linear", exclude=True), {".norm.weight", ".norm.bias"}),
    ],
)
def test_masks_of_a_module_see_its_arrays(mask, chosen):
    gradients = eqx.filter(Block(jax.random.key(0)), eqx.is_inexact_array)
    kept = mask(gradients)
    found = {jax.tree_util.keystr(path) for path, keep in jax.tree_util.tree_leaves_with_path(kept) if keep}
    assert found == chosen
    assert jax.tree.structure(kept) == jax.tree.structure(gradients)


def test_frozen_parameters_that_are_not_differentiated_need_no_mask():
    """Partitioned off, they take part in neither norm nor ascent: as a mask does, and their gradient is not taken."""
    frozen, trained = {"layer": PARAMS["layer"]}, {"norm": PARAMS["norm"]}
    _, gradients = sam.value_and_grad(lambda trained, frozen: half_square_norm((trained, frozen)), rho=0.6)(
        trained, frozen
    )
    _, masked = sam.value_and_grad(half_square_norm, rho=0.6, mask=sam.by_path("layer", exclude=True))(PARAMS)
    jax.tree.map(np.testing.assert_array_equal, gradients["norm"], masked["norm"])


@together("exclude", [False, True])
def test_a_pattern_that_matches_nothing_is_refused_and_the_paths_are_told(exclude):
    message = (
        "by_path('batchnorm') matches none of the parameters; their paths are "
        "['layer']['bias'], ['layer']['kernel'], ['norm']['offset'], ['norm']['scale']"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        sam.value_and_grad(half_square_norm, mask=sam.by_path("batchnorm", exclude=exclude))(PARAMS)


def test_of_many_paths_the_first_eight_are_told():
    with pytest.raises(ValueError, match=r"\['p0'\], .*\['p7'\] \.\.\.$"):
        sam.by_path("missing")({f"p{i}": jnp.ones(1) for i in range(10)})


def test_a_pattern_that_is_no_regular_expression_is_refused_at_once():
    with pytest.raises(re.error):
        sam.by_path("norm(")


@together(("least", "most"), [(-1, None), (2, 1), (0, -1)])
def test_numbers_of_dimensions_that_leave_nothing_are_refused(least, most):
    with pytest.raises(ValueError, match=f"0 <= least <= most, got least = {least}, most = {most}"):
        sam.by_dimensions(least, most)


@together(
    "make",
    [lambda n: sam.by_path(f"norm{n}"), lambda n: sam.by_path("norm", exclude=bool(n)), lambda n: sam.by_dimensions(n)],
    ids=["pattern", "exclude", "dimensions"],
)
def test_equal_masks_are_equal_and_others_are_not(make):
    assert make(0) == make(0)
    assert hash(make(0)) == hash(make(0))
    assert make(0) != make(1)
    assert sam.SAM(0.1, mask=make(0)) == sam.SAM(0.1, mask=make(0))
    assert sam.SAM(0.1, mask=make(0)) != sam.SAM(0.1, mask=make(1))


def test_a_method_whose_mask_is_made_anew_does_not_compile_again():
    traces = []

    @jax.jit
    def gradient(method, params):
        traces.append(1)
        return method.value_and_grad(half_square_norm)(params, ())[1]

    for rho in (0.1, 0.2):
        gradient(sam.SAM(rho, mask=sam.by_path("norm")), PARAMS)
        gradient(sam.ASAM(rho, adaptive=sam.by_dimensions(2)), PARAMS)
    assert len(traces) == 2
    gradient(sam.SAM(0.1, mask=sam.by_path("kernel")), PARAMS)
    assert len(traces) == 3


@together("mask", [jnp.ones((3, 2), bool), jnp.array([[True], [False]]), jnp.ones(3, bool)])
def test_a_mask_that_does_not_fit_its_parameters_is_refused(mask):
    with pytest.raises(ValueError, match=r"a mask must fit its parameters|Incompatible shapes"):
        sam.value_and_grad(lambda w: jnp.sum(w**2), rho=0.5, mask=lambda gradients: mask)(jnp.ones(2))


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(TypeError, match="a mask must give booleans, got float32"):
        sam.value_and_grad(lambda w: jnp.sum(w**2), rho=0.5, mask=lambda gradients: jnp.array(0.5))(jnp.ones(2))
