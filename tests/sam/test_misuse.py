"""What is easily got wrong, and what one is told."""

import functools
import json
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from together import together

from widebasin import sam
from widebasin.sam._method import check_number, check_radius

W = jnp.array([1.0, -2.0])
X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2)), jnp.float32)
Y = jnp.arange(8.0)


def loss(w, x, y):
    return jnp.mean((x @ w - y) ** 2)


def half_square_norm(w):
    return 0.5 * jnp.sum(w**2)


@pytest.mark.slow
@together("options", [{"m": 1}, {"m": 4}, {"base": sam.microbatched(1)}, {"base": sam.microbatched(4)}])
def test_examples_by_keyword_are_refused_where_the_batch_is_cut(options):
    function = sam.value_and_grad(loss, rho=0.1, **options)
    with pytest.raises(ValueError, match="keyword argument 'y'"):
        function(W, X, y=Y)
    function(W, X, Y)


@pytest.mark.slow
def test_keywords_that_are_no_examples_reach_every_group():
    def scaled(w, x, y, *, scale):
        return scale.sum() * loss(w, x, y)

    value, _ = sam.value_and_grad(scaled, rho=0.1, m=4)(W, X, Y, scale=jnp.array([1.0, 1.0]))
    np.testing.assert_allclose(value, 2 * loss(W, X, Y), rtol=1e-6)


@pytest.mark.slow
def test_a_merge_of_its_own_sees_the_auxiliary_output_alone_whatever_the_nesting():
    """Sums over parts, which must not reach the loss."""

    def counted(w, x, y):
        return loss(w, x, y), {"examples": jnp.asarray(len(x), jnp.float32)}

    def summed(stacked):
        return jax.tree.map(lambda leaf: leaf.sum(0), stacked)

    scale = sam.DynamicLossScale.starting_at(2.0**10)
    parts = sam.microbatched(4, merge_aux=summed)
    for base in (scale.scaled(parts), sam.microbatched(4, scale.scaled(), merge_aux=summed)):
        (value, aux), gradients = sam.value_and_grad(counted, has_aux=True, rho=0.1, base=base)(W, X, Y)
        np.testing.assert_allclose(value, loss(W, X, Y), rtol=1e-6)
        assert float(aux["examples"]) == 8
        np.testing.assert_allclose(gradients, sam.value_and_grad(loss, rho=0.1)(W, X, Y)[1], rtol=1e-5)


@pytest.mark.slow
def test_what_belongs_to_every_example_is_put_together_again():
    def with_outputs(w, x, y):
        return loss(w, x, y), x @ w

    for options in ({"m": 2}, {"base": sam.microbatched(2, merge_aux=sam.concatenate_over_groups)}):
        merge = {"merge_aux": sam.concatenate_over_groups} if "m" in options else {}
        (_, outputs), _ = sam.value_and_grad(with_outputs, has_aux=True, **options, **merge)(W, X, Y)
        np.testing.assert_allclose(outputs, X @ W, rtol=1e-5)


def test_decay_of_complex_parameters_shrinks_them():
    w = jnp.array([1 + 2j, 3 - 1j])
    _, gradient = sam.decayed(0.1)(lambda w: 0.0 * jnp.sum(jnp.abs(w) ** 2))(w)
    np.testing.assert_allclose(gradient, jax.grad(lambda w: 0.05 * jnp.sum(jnp.abs(w) ** 2))(w), rtol=1e-6)


@together("shape", [(8, 3), (16,), ()])
def test_losses_that_are_not_one_per_example_are_refused(shape):
    method = sam.ESAM(0.1, 1.0)
    function = method.value_and_grad(loss, example_losses=lambda w, x, y: jnp.zeros(shape))
    with pytest.raises(ValueError, match=r"one loss for each of the 8 examples, got shape"):
        function(W, (), X, Y)


@pytest.mark.slow
def test_an_argument_without_examples_is_named_before_it_is_cut():
    def noisy(w, x, y, key):
        return loss(w, x, y) + 0 * jax.random.normal(key)

    with pytest.raises(ValueError, match=r"argument 3 .* batch_argnums"):
        sam.ESAM(0.1, 1.0).value_and_grad(noisy)(W, (), X, Y, jax.random.key(0))
    sam.ESAM(0.1, 1.0).value_and_grad(noisy, batch_argnums=(1, 2))(W, (), X, Y, jax.random.key(0))


@pytest.mark.slow
@together("method", [sam.SAM(jnp.array([0.5, 50.0])), sam.WSAM(0.1, jnp.array([0.5, 0.6]))])
def test_a_vector_of_hyperparameters_is_refused_but_may_be_batched(method):
    with pytest.raises(ValueError, match=r"must be scalars, got shape \(2,\)"):
        method.value_and_grad(half_square_norm)(W, ())
    axes = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, method)
    found = jax.vmap(lambda one: one.value_and_grad(half_square_norm)(W, ())[1], in_axes=(axes,))(method)
    assert found.shape == (2, 2)


def test_a_state_of_another_method_is_refused():
    with pytest.raises(ValueError, match="the state does not belong to LookSAM"):
        sam.LookSAM(0.1).value_and_grad(half_square_norm)(W, ())
    with pytest.raises(ValueError, match="the state does not belong to FriendlySAM"):
        sam.FriendlySAM(0.1).value_and_grad(half_square_norm)(W, sam.LookSAM(0.1).init(W))


def test_a_method_may_hold_what_is_no_hyperparameter_while_jax_handles_it():
    one, other = sam.SAM(0.1), sam.SAM(0.2)
    assert jax.tree.map(lambda a, b: a - b, one, other).rho == pytest.approx(-0.1)
    assert jax.tree.map(lambda _: "a label", one).rho == "a label"
    with pytest.raises(ValueError, match="rho"):
        sam.SAM(-0.1)


UNCHECKED = """
import json
import jax
import jax.numpy as jnp
import numpy as np
import optax
from widebasin import sam

found = {}
for name, build in {
    "m": lambda: sam.SAM(m=2.0),
    "m is True": lambda: sam.SAM(m=True),
    "k": lambda: sam.LookSAM(k=1.5),
    "normalize": lambda: sam.SAM(0.05, 0.1),
    "method": lambda: sam.gradient_transformation(0.5),
    "schedule": lambda: sam.gradient_transformation(sam.SAM(), rho=0.5),
    "wsam": lambda: sam.decoupled_wsam(optax.sgd(0.1), 0.1, sam.SAM()),
    "argnums": lambda: sam.value_and_grad(jnp.sum, 0.05),
}.items():
    try:
        build()
    except (TypeError, ValueError) as error:
        found[name] = f"{type(error).__name__}: {error}"

w, x = jnp.ones(2), jnp.arange(8.0).reshape(4, 2)
loss = lambda w, x: jnp.mean((x @ w - 1) ** 2)
expected = sam.value_and_grad(loss, m=2)(w, x)
same = jax.tree.map(np.array_equal, sam.value_and_grad(loss, np.int64(0), m=np.int32(2))(w, x), expected)
method = sam.LookSAM(k=np.int64(4))
step = jax.make_jaxpr(lambda w: method.value_and_grad(loss)(w, method.init(w), x, step=np.int64(5)))(w)
found["NumPy"] = [all(map(bool, same)), method.gradients_per_step, "cond[" in str(step)]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_without_checked_annotations_wrong_types_are_named_and_whole_numbers_of_numpy_will_do():
    """In a process of its own, where annotations are not checked as they are here."""
    done = subprocess.run([sys.executable, "-c", UNCHECKED], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "m": "ValueError: m must be a number of examples of at least 1, or None for the whole batch, got 2.0",
        "m is True": "ValueError: m must be a number of examples of at least 1, or None for the whole batch, got True",
        "k": "ValueError: k must be a whole number of at least 1, got 1.5",
        "normalize": "TypeError: normalize must be True or False, got 0.1",
        "method": "TypeError: method must be a method of the SAM family, such as sam.SAM(rho=0.05), got 0.5",
        "schedule": "TypeError: rho must be a schedule (step -> radius), got 0.5; set a fixed radius in the method",
        "wsam": f"TypeError: method must be a sam.WSAM, whose two terms are applied separately, got {sam.SAM()!r}",
        "argnums": "TypeError: argnums must be an integer or several, got 0.05; pass the radius by name: rho=0.05",
        "NumPy": [True, 1.25, False],
    }


def test_a_skipped_step_leaves_what_is_no_array_of_a_model():
    old, new = (eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(k)) for k in (0, 1))
    assert eqx.tree_equal(sam.keep_if(jnp.array(False), new, old), old)
    assert eqx.tree_equal(sam.keep_if(jnp.array(True), new, old), new)


@pytest.mark.slow
@together("method", [sam.SAM(0.1), sam.ASAM(0.1), sam.GSAM(0.1), sam.WSAM(0.1)])
def test_a_step_can_be_differentiated_at_a_zero_gradient(method):
    derivative = jax.grad(lambda w: method.value_and_grad(half_square_norm)(w, ())[1].sum())(jnp.zeros(2))
    assert np.isfinite(derivative).all()


def test_sparse_sam_is_sam_until_it_has_chosen():
    method = sam.SSAM(0.5, every=100)
    state = method.init(W)
    _, gradients, _ = method.value_and_grad(loss)(W, state, X, Y, step=1)
    _, expected, _ = sam.SAM(0.5).value_and_grad(loss)(W, (), X, Y)
    np.testing.assert_allclose(gradients, expected, rtol=1e-6)


@pytest.mark.slow
@together("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_looksam_makes_no_direction_of_rounding_in_any_precision(dtype):
    """Of ``||w||^2 / 2`` no part of SAM's gradient is orthogonal to the clean one."""
    w = jnp.asarray(np.random.default_rng(1).normal(size=1000), dtype)
    method = sam.LookSAM(0.5, k=2)
    function = method.value_and_grad(lambda w: 0.5 * jnp.sum(w.astype(jnp.float32) ** 2))
    _, _, state = function(w, method.init(w))
    _, gradients, _ = function(w, state)
    np.testing.assert_array_equal(gradients, w)


def test_modules_of_nnx_that_hold_more_than_parameters_are_refused_with_the_recipe():
    nnx = pytest.importorskip("flax.nnx")

    class Network(nnx.Module):
        def __init__(self, norm):
            self.linear = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
            self.norm = nnx.BatchNorm(1, rngs=nnx.Rngs(0)) if norm else lambda x: x

        def __call__(self, x):
            return self.norm(self.linear(x))[:, 0]

    def module_loss(module, x, y):
        return jnp.mean((module(x) - y) ** 2)

    with pytest.raises(TypeError, match=r"nnx module Network, which also has BatchStat: split it, graph, params"):
        sam.value_and_grad(module_loss, rho=0.1)(Network(norm=True), X, Y)
    with pytest.raises(TypeError, match=r"base must behave like jax\.value_and_grad"):
        sam.SAM(0.1).value_and_grad(module_loss, base=nnx.value_and_grad)
    scaled = sam.DynamicLossScale.starting_at(4.0).scaled
    for wrapped in (lambda base: sam.microbatched(4, base), lambda base: sam.decayed(0.1, base), scaled):
        with pytest.raises(TypeError, match=r"base must behave like jax\.value_and_grad"):
            sam.value_and_grad(module_loss, base=wrapped(nnx.value_and_grad))(Network(norm=False), X, Y)


@together("rho", [None, [0.1], 1 + 2j, np.array(1j), "0.1", lambda step: 0.1])
def test_a_radius_that_is_no_number_is_refused(rho):
    with pytest.raises(TypeError, match="rho must be a number or a scalar array"):
        check_radius(rho)


@together("rho", [-0.5, np.float32(-0.5), np.array(-0.5), np.nan])
def test_a_radius_below_zero_is_refused(rho):
    with pytest.raises(ValueError, match="rho must be a finite number >= 0"):
        check_radius(rho)


def test_a_hyperparameter_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match="alpha must be a number or a scalar array"):
        check_number("alpha", "0.4", lambda value: value > 0, "positive")


@together("call", [lambda f: f(w=W, x=X, y=Y), lambda f: f()])
def test_parameters_are_given_by_position(call):
    with pytest.raises(TypeError, match="the parameters are argument 0, counted from 0: give them by position"):
        call(sam.value_and_grad(loss, rho=0.1))


def test_integers_that_may_be_differentiated_stay_and_count_in_no_norm():
    def base(f, argnums=0, has_aux=False):
        return jax.value_and_grad(f, argnums=argnums, has_aux=has_aux, allow_int=True)

    def with_steps(p, x, y):
        return loss(p["w"], x, y)

    params = {"w": W, "steps": jnp.array(3)}
    for method in (sam.SGD(), sam.SAM(0.1), sam.GSAM(0.1), sam.ASAM(0.1)):
        value, gradients, _ = method.value_and_grad(with_steps, base=base)(params, method.init(params), X, Y)
        expected = method.value_and_grad(loss)(W, method.init(W), X, Y)
        assert gradients["steps"] is None
        np.testing.assert_array_equal(value, expected[0])
        np.testing.assert_array_equal(gradients["w"], expected[1])
    scale = sam.DynamicLossScale.starting_at(2.0).scaled
    for around in (functools.partial(sam.microbatched, 4), functools.partial(sam.decayed, 0.1), scale):
        _, gradients = sam.value_and_grad(with_steps, rho=0.1, base=around(base=base))(params, X, Y)
        expected = sam.value_and_grad(loss, rho=0.1, base=around())(W, X, Y)[1]
        assert gradients["steps"] is None
        np.testing.assert_allclose(gradients["w"], expected, rtol=1e-6)


def affine(p, x):
    return jnp.mean((x @ p["w"] + p["b"]) ** 2)


@together(
    "method", [sam.FriendlySAM(0.1), sam.LookSAM(0.1), sam.LinearizedSAM(0.1), sam.SSAM(0.1), sam.SSAM(scores="random")]
)
def test_a_number_that_is_differentiated_but_in_no_state_is_refused_with_the_remedy(method):
    function, number = method.value_and_grad(affine), {"w": W, "b": 0.5}
    with pytest.raises(
        TypeError, match=rf"params\['b'\] is the number 0\.5.* {type(method).__name__} .*asarray\(0\.5\)"
    ):
        function(number, method.init(number), X, key=jax.random.key(0))
    with pytest.raises(
        ValueError, match="make it so, and give Python numbers among the parameters as arrays both times"
    ):
        function({"w": W, "b": jnp.asarray(0.5)}, method.init(number), X, key=jax.random.key(0))


@together("method", [sam.SAM(0.1), sam.SAMEveryK(0.1)])
def test_a_number_is_a_parameter_where_no_state_follows_it(method):
    number, array = {"w": W, "b": 0.5}, {"w": W, "b": jnp.asarray(0.5)}
    found, expected = (method.value_and_grad(affine)(p, method.init(p), X)[1] for p in (number, array))
    jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, rtol=1e-6), found, expected)
