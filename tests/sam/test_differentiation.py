import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from sam.family import BATCH, FAMILY, ONE_OF_EACH, PERTURBING, each_compiled, loss, network, problem
from together import together

from widebasin import sam

MICROBATCH = 4
IN_FLOAT64 = pytest.mark.usefixtures("float64")


def steps(method, loss=loss, base=jax.value_and_grad, count=2, **options):
    """``(value, gradients, state)`` of steps of gradient descent."""
    params, batches = problem()
    value_and_grad = jax.jit(method.value_and_grad(loss, base=base, **options))
    state, found = method.init(params), []
    for t, batch in enumerate(batches[:count]):
        value, gradients, state = value_and_grad(params, state, *batch, key=jax.random.key(t))
        found.append((value, gradients, state))
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
    return found


def assert_close(left, right, rtol=1e-11, atol=1e-14):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


def assert_equal(left, right):
    assert_close(left, right, rtol=0, atol=0)


# Rematerialization and microbatches -----------------------------------------------------------------------------------


@IN_FLOAT64
@each_compiled({name: FAMILY[name] for name in ("SAM", "LookSAM", "ESAM", "SSAM", "normalized linearized SAM")})
def test_rematerialization_changes_nothing(method):
    assert_close(steps(method, jax.checkpoint(loss)), steps(method))


@IN_FLOAT64
@each_compiled(ONE_OF_EACH)
def test_microbatches_give_the_whole_batch(method):
    """Values, gradients and states of every method; ESAM selects 8 examples, SSAM scores one at a time."""
    assert_close(steps(method, base=sam.microbatched(MICROBATCH)), steps(method))


@IN_FLOAT64
@each_compiled({name: method for name, method in ONE_OF_EACH.items() if name in PERTURBING})
def test_microbatches_give_the_groups_of_m(method):
    method = dataclasses.replace(method, m=8)
    assert_close(steps(method, base=sam.microbatched(MICROBATCH)), steps(method))


@pytest.mark.slow
@IN_FLOAT64
@each_compiled({name: PERTURBING[name] for name in ("SAM", "friendly SAM", "SSAM")})
def test_microbatches_give_the_whole_batch_on_two_devices(method):
    params, ((inputs, targets), *_) = problem()
    state = method.init(params)
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), ("batch",))

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("batch"), P("batch")), out_specs=P())
    def on_two(params, inputs, targets):
        base = sam.microbatched(MICROBATCH)
        return method.value_and_grad(loss, base=base, axis_name="batch")(params, state, inputs, targets)

    assert_close(on_two(params, inputs, targets), method.value_and_grad(loss)(params, state, inputs, targets))


def test_a_batch_of_at_most_one_microbatch_is_taken_whole():
    params, (batch, *_) = problem()
    for size in (BATCH, 2 * BATCH):
        assert_equal(sam.microbatched(size)(loss)(params, *batch), jax.value_and_grad(loss)(params, *batch))


def test_microbatches_bound_the_memory():
    """Temporary memory of SAM on 1024 examples, 32 at a time, is less than an eighth of that of the whole batch."""
    params = jax.tree.map(lambda n: jnp.ones((n, n)), [64] * 4)
    inputs = jnp.ones((1024, 64))

    def deep(params, inputs):
        for weight in params:
            inputs = jnp.tanh(inputs @ weight)
        return jnp.mean(inputs**2)

    def memory(base):
        function = jax.jit(sam.value_and_grad(deep, base=base))
        return function.lower(params, inputs).compile().memory_analysis().temp_size_in_bytes

    parameters = 4 * 64 * 64 * 4  # bytes
    assert memory(sam.microbatched(32)) - 2 * parameters < memory(jax.value_and_grad) / 8


def with_outputs(params, inputs, targets):
    outputs = network(params, inputs)
    return jnp.mean((outputs - targets) ** 2), {"mean": outputs.mean(), "outputs": outputs}


@pytest.mark.slow
@IN_FLOAT64
def test_auxiliary_data_of_microbatches_are_averaged_or_merged_as_told():
    params, ((inputs, targets), *_) = problem()

    def merge(stacked):
        assert stacked["outputs"].shape == (BATCH // MICROBATCH, MICROBATCH)
        return {"mean": stacked["mean"].mean(), "outputs": stacked["outputs"].reshape(-1)}

    base = sam.microbatched(MICROBATCH, merge_aux=merge)
    found = sam.value_and_grad(with_outputs, has_aux=True, rho=0.3, base=base)(params, inputs, targets)
    expected = sam.value_and_grad(with_outputs, has_aux=True, rho=0.3)(params, inputs, targets)
    assert_close(found, expected)

    (_, averaged), _ = sam.microbatched(MICROBATCH)(with_outputs, has_aux=True)(params, inputs, targets)
    np.testing.assert_allclose(averaged["mean"], expected[0][1]["mean"])
    np.testing.assert_allclose(averaged["outputs"], network(params, inputs).reshape(-1, MICROBATCH).mean(0))


def test_auxiliary_integers_of_microbatches_are_refused_with_a_remedy():
    def counted(params, inputs, targets):
        return loss(params, inputs, targets), {"count": jnp.arange(3)}

    params, (batch, *_) = problem()
    with pytest.raises(TypeError, match=r"\['count'\] has dtype int32.*merge_aux="):
        sam.microbatched(MICROBATCH)(counted, has_aux=True)(params, *batch)


@pytest.mark.slow
@IN_FLOAT64
def test_microbatches_of_a_model_that_is_more_than_arrays():
    model = eqx.nn.MLP(2, 1, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
    _, ((inputs, targets), *_) = problem()

    def model_loss(model, inputs, targets):
        return jnp.mean((jax.vmap(model)(inputs)[:, 0] - targets) ** 2)

    base = sam.microbatched(MICROBATCH, base=eqx.filter_value_and_grad)
    found = sam.value_and_grad(model_loss, rho=0.3, base=base)(model, inputs, targets)
    expected = sam.value_and_grad(model_loss, rho=0.3, base=eqx.filter_value_and_grad)(model, inputs, targets)
    assert_close(found, expected)


def test_half_precision_is_accumulated_in_float32():
    """1 + 2^-8 over 512 examples: a bfloat16 sum would stop growing at 256."""

    def linear(w, x):
        return jnp.mean(w * x)

    x = jnp.ones(512, jnp.bfloat16)
    value, gradient = sam.microbatched(1)(linear)(jnp.array(1.0, jnp.bfloat16), x)
    assert gradient.dtype == jnp.bfloat16
    assert float(gradient) == 1.0
    assert float(value) == 1.0


@together(
    ("batch", "message"),
    [
        ((jnp.ones((10, 2)), jnp.ones(10)), "size = 4 must divide the batch of 10 examples"),
        ((jnp.ones((0, 2)), jnp.ones(0)), "size = 4 must divide the batch of 0 examples"),
        ((jnp.ones((8, 2)), jnp.ones(4)), r"got lengths \[4, 8\]; name them by batch_argnums="),
        ((jnp.ones((8, 2)), jnp.ones(())), r"got lengths \[8\]; name them by batch_argnums="),
    ],
)
def test_batches_that_cannot_be_cut_are_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        sam.microbatched(MICROBATCH)(loss)(problem().params, *batch)


def test_a_selection_that_microbatches_do_not_divide_is_refused():
    """ESAM takes 5 of 16 examples."""
    with pytest.raises(ValueError, match="size = 4 must divide the batch of 5 examples"):
        steps(sam.ESAM(0.3, 1.0, 0.3), base=sam.microbatched(MICROBATCH))


@together("size", [0, -1])
def test_what_is_no_size_is_refused(size):
    with pytest.raises(ValueError, match="size must be a whole number of at least 1, got"):
        sam.microbatched(size)


# Dropout --------------------------------------------------------------------------------------------------------------


def dropped_loss(params, inputs, targets, key):
    """The mask is drawn for hidden units, alike for all examples."""
    hidden = jnp.tanh(inputs @ params["in"].T + params["bias"])
    kept = jax.random.bernoulli(key, 0.5, hidden.shape[1:])
    return jnp.mean(((hidden * kept) @ params["out"] - targets) ** 2)


@pytest.mark.slow
@IN_FLOAT64
@together(("m", "size"), [(None, None), (8, None), (None, 4), (8, 4)])
def test_both_passes_of_all_groups_and_microbatches_drop_the_same_units(m, size):
    """With the units removed from the network by hand."""
    params, ((inputs, targets), *_) = problem()
    key = jax.random.key(2)
    kept = np.asarray(jax.random.bernoulli(key, 0.5, (3,)))
    assert 0 < kept.sum() < 3
    base = jax.value_and_grad if size is None else sam.microbatched(size, batch_argnums=(1, 2))
    _, gradients = sam.value_and_grad(dropped_loss, rho=0.3, m=m, base=base, batch_argnums=(1, 2))(
        params, inputs, targets, key
    )
    smaller = {"in": params["in"][kept], "bias": params["bias"][kept], "out": params["out"][kept]}
    _, expected = sam.value_and_grad(loss, rho=0.3, m=m)(smaller, inputs, targets)
    assert_close(jax.tree.map(lambda g: g[kept], gradients), expected)
    assert not any(np.any(g[~kept]) for g in gradients.values())


def test_a_key_among_the_examples_is_refused_with_a_remedy():
    params, (batch, *_) = problem()
    with pytest.raises(ValueError, match=r"argument 3 of the loss is not an array of examples.*batch_argnums="):
        sam.value_and_grad(dropped_loss, m=8)(params, *batch, jax.random.key(2))


# Precision ------------------------------------------------------------------------------------------------------------


def test_the_ascent_from_float32_parameters_is_not_rounded_to_the_precision_of_the_loss():
    """0.5 ||w||^2 in bfloat16: the gradient is bfloat16(w), taken at a float32 point, and float32 itself."""

    def half_loss(w):
        return 0.5 * jnp.sum(w.astype(jnp.bfloat16) ** 2).astype(jnp.float32)

    w = np.array([3.0, 4.0], np.float32)
    value, gradient = sam.value_and_grad(half_loss, rho=0.5)(jnp.asarray(w))
    assert value.dtype == gradient.dtype == jnp.float32
    np.testing.assert_array_equal(gradient, np.asarray(w * np.float32(1.1)).astype(jnp.bfloat16).astype(np.float32))


# Accumulation across steps --------------------------------------------------------------------------------------------

STATELESS = ("SAM", "unnormalized SAM", "multi-step SAM", "ASAM", "GSAM", "WSAM")


@pytest.mark.slow
@IN_FLOAT64
@each_compiled({name: FAMILY[name] for name in STATELESS})
def test_accumulating_steps_of_microbatches_is_one_step_with_their_size_as_m(method):
    params, (batch, *_) = problem()
    optimizer = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=BATCH // MICROBATCH)
    found, state = params, optimizer.init(params)
    for first in range(0, BATCH, MICROBATCH):
        part = jax.tree.map(lambda leaf, first=first: leaf[first : first + MICROBATCH], batch)
        _, gradients, _ = method.value_and_grad(loss)(found, (), *part)
        updates, state = optimizer.update(gradients, state, found)
        found = optax.apply_updates(found, updates)
    _, gradients, _ = dataclasses.replace(method, m=MICROBATCH).value_and_grad(loss)(params, (), *batch)
    assert_close(found, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients), rtol=1e-6)


# Weight decay inside the perturbation ---------------------------------------------------------------------------------

DECAY = 0.05


def l2(params):
    return 0.5 * DECAY * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))


def regularized_loss(params, inputs, targets):
    return loss(params, inputs, targets) + l2(params)


@IN_FLOAT64
@each_compiled(ONE_OF_EACH)
def test_decay_inside_is_the_l2_term_in_the_loss_and_the_value_stays_the_loss(method):
    found, expected = steps(method, base=sam.decayed(DECAY)), steps(method, regularized_loss)
    assert_close([step[1:] for step in found], [step[1:] for step in expected])
    params, (batch, *_) = problem()
    np.testing.assert_allclose(found[0][0], loss(params, *batch), rtol=1e-12)


def half_square_norm(w):
    return 0.5 * jnp.sum(w**2)


@IN_FLOAT64
def test_decay_inside_and_outside_match_their_closed_forms():
    """On 0.5 ||w||^2 at ||w|| = 5, rho = .5: inside (1 + c) 1.1 w, outside 1.1 w + c w."""
    w, c = jnp.array([3.0, 4.0]), 0.2
    _, inside = sam.value_and_grad(half_square_norm, rho=0.5, base=sam.decayed(c))(w)
    np.testing.assert_allclose(inside, 1.2 * 1.1 * w, rtol=1e-12)
    decay = optax.add_decayed_weights(c)
    outside, _ = decay.update(sam.value_and_grad(half_square_norm, rho=0.5)(w)[1], decay.init(w), w)
    np.testing.assert_allclose(outside, (1.1 + c) * w, rtol=1e-12)


@pytest.mark.slow
@IN_FLOAT64
def test_a_mask_says_what_decays():
    params, (batch, *_) = problem()

    def kernels_decay(params, *batch):
        return loss(params, *batch) + l2({"in": params["in"]})

    found = sam.value_and_grad(loss, rho=0.3, base=sam.decayed(DECAY, mask=sam.by_dimensions(2)))(params, *batch)[1]
    assert_close(found, sam.value_and_grad(kernels_decay, rho=0.3)(params, *batch)[1])


@pytest.mark.slow
@IN_FLOAT64
def test_what_is_not_differentiated_does_not_decay():
    model = eqx.nn.MLP(2, 1, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
    inputs = problem().batches[0][0]

    def model_loss(model, inputs):
        return jnp.mean(jax.vmap(model)(inputs) ** 2)

    def with_l2(model, inputs):
        return model_loss(model, inputs) + l2(eqx.filter(model, eqx.is_inexact_array))

    base = sam.decayed(DECAY, base=eqx.filter_value_and_grad)
    found = sam.value_and_grad(model_loss, rho=0.3, base=base)(model, inputs)[1]
    expected = sam.value_and_grad(with_l2, rho=0.3, base=eqx.filter_value_and_grad)(model, inputs)[1]
    assert_close(found, expected)


@IN_FLOAT64
def test_several_arguments_decay_together():
    def product(x, scale, y):
        return scale * jnp.sum(x * y)

    x, y = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
    value, gradients = sam.decayed(0.5)(product, argnums=(0, 2))(x, 2.0, y)
    assert float(value) == 22.0
    assert_equal(gradients, (2 * y + 0.5 * x, 2 * x + 0.5 * y))


def test_a_traced_coefficient_does_not_compile_again():
    traces = []

    @jax.jit
    def gradient(coefficient, w):
        traces.append(1)
        return sam.value_and_grad(half_square_norm, rho=0.0, base=sam.decayed(coefficient))(w)[1]

    w = jnp.array([3.0, 4.0])
    for coefficient in (0.0, 0.5, 2.0):
        np.testing.assert_array_equal(gradient(coefficient, w), (1 + coefficient) * w)
    assert traces == [1]


@together("coefficient", [-0.1, float("nan"), float("inf")])
def test_what_is_no_coefficient_is_refused(coefficient):
    with pytest.raises(ValueError, match=f"coefficient must be a finite number >= 0, got {coefficient}"):
        sam.decayed(coefficient)


# Together -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@IN_FLOAT64
def test_decay_microbatches_and_loss_scale_compose_with_decay_outermost():
    """The scale is a power of two, so it divides out exactly; accumulation may be inside or outside."""
    params, (batch, *_) = problem()
    scaled = sam.DynamicLossScale.starting_at(2.0**8).scaled
    microbatched = functools.partial(sam.microbatched, MICROBATCH)
    expected = sam.value_and_grad(regularized_loss, rho=0.3)(params, *batch)[1]
    for base in (
        sam.decayed(DECAY, base=scaled(microbatched())),
        sam.decayed(DECAY, base=microbatched(base=scaled())),
        microbatched(base=sam.decayed(DECAY, base=scaled())),
    ):
        value, gradients = sam.value_and_grad(loss, rho=0.3, base=base)(params, *batch)
        assert_close(gradients, expected)
        np.testing.assert_allclose(value, loss(params, *batch), rtol=1e-12)


@IN_FLOAT64
def test_a_loss_scale_outside_the_decay_divides_the_decay():
    """Why the documented order is the other."""
    w = jnp.array([3.0, 4.0])
    base = sam.DynamicLossScale.starting_at(4.0).scaled(sam.decayed(0.2))
    np.testing.assert_allclose(base(half_square_norm)(w)[1], (1 + 0.2 / 4) * w, rtol=1e-12)
