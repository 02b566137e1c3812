import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from sam.family import DRAWING, FAMILY, SEEING_EXAMPLES, each, each_compiled, loss, problem
from together import together

from widebasin import sam

ACCEPTED = {name: method for name, method in FAMILY.items() if name not in SEEING_EXAMPLES}
gradient = jax.grad(loss)


def key_at(step):
    return jax.random.fold_in(jax.random.key(5), step)


def assert_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


def assert_close(left, right, rtol=1e-12):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol), left, right)


def train(optimizer, params, batches, state=None, first=0):
    """Steps of an optimizer that is given the gradient function: ``(params, state)``."""

    @jax.jit
    def step(params, state, inputs, targets, key):
        updates, state = optimizer.update(
            gradient(params, inputs, targets),
            state,
            params,
            grad_fn=lambda w: gradient(w, inputs, targets),
            key=key,
        )
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params) if state is None else state
    for t, batch in enumerate(batches, first):
        params, state = step(params, state, *batch, key_at(t))
    return params, state


def train_with_method(method, optimizer, params, batches):
    """The same steps with the method's own ``value_and_grad``: ``(params, method's state, optimizer's state)``."""

    @jax.jit
    def step(params, method_state, state, inputs, targets, key):
        _, gradients, method_state = method.value_and_grad(loss)(params, method_state, inputs, targets, key=key)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), method_state, state

    carried = params, method.init(params), optimizer.init(params)
    for t, batch in enumerate(batches):
        carried = step(*carried, *batch, key_at(t))
    return carried


# Equalities -----------------------------------------------------------------------------------------------------------


@each_compiled(ACCEPTED)
def test_chained_before_an_optimizer_it_is_the_method_bit_for_bit(method):
    """Six steps, so that LookSAM reuses, SSAM chooses anew, and momenta and averages take part."""
    optimizer = optax.adamw(0.05, weight_decay=0.01)
    params, batches = problem()
    chained = optax.chain(sam.gradient_transformation(method), optimizer)
    found, (carried, optimizer_state) = train(chained, params, batches)
    expected, method_state, expected_state = train_with_method(method, optimizer, params, batches)
    assert_equal(found, expected)
    assert_equal(carried.method, method_state)
    assert_equal(optimizer_state, expected_state)
    assert int(carried.count) == len(batches)


@pytest.mark.usefixtures("float64")
@together("optimizer", [optax.sgd(0.1, momentum=0.9), optax.adam(0.1)], ids=["momentum", "adam"])
def test_sam_equals_optax_contrib_sam_over_several_steps(optimizer):
    params, batches = problem()
    adversary = optax.chain(optax.contrib.normalize(), optax.sgd(0.3))
    theirs = optax.contrib.sam(optimizer, adversary, sync_period=2, opaque_mode=True)

    @jax.jit
    def their_step(params, state, inputs, targets):
        updates, state = theirs.update(
            gradient(params, inputs, targets), state, params, grad_fn=lambda w, _: gradient(w, inputs, targets)
        )
        return optax.apply_updates(params, updates), state

    expected, state = params, theirs.init(params)
    for batch in batches:
        expected, state = their_step(expected, state, *batch)
    found, _ = train(optax.chain(sam.gradient_transformation(sam.SAM(0.3)), optimizer), params, batches)
    assert_close(found, expected)


def test_the_gradients_given_are_the_first_pass():
    """0.5 ||w||^2 at (3, 4), told that the gradient is (0, 1): the ascent goes there, and grad_fn is called once."""
    calls = []

    def grad_fn(w):
        calls.append(w)
        return w

    transformation = sam.gradient_transformation(sam.SAM(0.5))
    w = jnp.array([3.0, 4.0])
    found, _ = transformation.update(jnp.array([0.0, 1.0]), transformation.init(w), w, grad_fn=grad_fn)
    np.testing.assert_allclose(found, [3.0, 4.5])
    assert len(calls) == 1


@each({name: method for name, method in DRAWING.items() if name in ACCEPTED})
def test_methods_that_draw_need_their_key_here_too(method):
    params, (batch, *_) = problem()
    transformation = sam.gradient_transformation(method)
    with pytest.raises(ValueError, match="pass key="):
        transformation.update(
            gradient(params, *batch), transformation.init(params), params, grad_fn=lambda w: gradient(w, *batch)
        )


# The schedule of the radius -------------------------------------------------------------------------------------------


def descent_by_hand(w, rates, radii):
    """On 0.5 ||w||^2 a step multiplies w by 1 - rate (1 + rho / ||w||)."""
    path = []
    for rate, rho in zip(rates, radii, strict=True):
        w = w * (1 - rate * (1 + rho / np.linalg.norm(w)))
        path.append(w)
    return np.array(path)


def descent(optimizer, w, steps):
    @jax.jit
    def step(w, state):
        updates, state = optimizer.update(w, state, w, grad_fn=lambda w: w)
        return optax.apply_updates(w, updates), state

    state, path = optimizer.init(w), []
    for _ in range(steps):
        w, state = step(w, state)
        path.append(np.asarray(w))
    return np.array(path)


@pytest.mark.usefixtures("float64")
def test_a_schedule_of_the_radius_advances():
    schedule = optax.linear_schedule(1.0, 0.0, transition_steps=4)
    optimizer = optax.chain(sam.gradient_transformation(sam.SAM(), rho=schedule), optax.sgd(0.1))
    w = np.array([3.0, 4.0])
    expected = descent_by_hand(w, [0.1] * 6, [1.0, 0.75, 0.5, 0.25, 0.0, 0.0])
    np.testing.assert_allclose(descent(optimizer, jnp.asarray(w), 6), expected, rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_a_radius_tied_to_the_learning_rate_follows_it():
    learning_rate = optax.cosine_decay_schedule(0.2, 5)
    rho = sam.radius_schedule(learning_rate, (0.1, 0.5), (0.0, 0.2))
    optimizer = optax.chain(sam.gradient_transformation(sam.GSAM(alpha=0.0), rho=rho), optax.sgd(learning_rate))
    rates = [0.1 * (1 + np.cos(np.pi * min(t, 5) / 5)) for t in range(7)]
    expected = descent_by_hand(np.array([3.0, 4.0]), rates, [0.1 + 0.4 * rate / 0.2 for rate in rates])
    np.testing.assert_allclose(descent(optimizer, jnp.array([3.0, 4.0]), 7), expected, rtol=1e-12)


def test_a_schedule_that_reaches_zero_is_the_plain_gradient_bit_for_bit():
    params, batches = problem()
    from_the_third = optax.piecewise_constant_schedule(0.3, {2: 0.0})
    optimizer = optax.chain(sam.gradient_transformation(sam.SAM(), rho=from_the_third), optax.adam(0.1))
    after_two, (_, state) = train(optimizer, params, batches[:2])
    found, _ = train(optimizer, params, batches)
    plain = optax.chain(sam.gradient_transformation(sam.SGD()), optax.adam(0.1))
    expected, _ = train(plain, after_two, batches[2:], state=(plain.init(params)[0], state))
    assert_equal(found, expected)
    assert not np.array_equal(found["in"], train(plain, params, batches)[0]["in"])


def test_a_schedule_for_a_method_without_a_radius_is_refused():
    with pytest.raises(ValueError, match="rho is a schedule of the radius, but SGD has no radius"):
        sam.gradient_transformation(sam.SGD(), rho=lambda step: 0.1)


# State ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@each_compiled({name: FAMILY[name] for name in ("LookSAM", "friendly SAM", "random SSAM", "linearized SAM")})
def test_a_run_restored_by_orbax_goes_on_bit_for_bit(method, tmp_path):
    params, batches = problem()
    schedule = optax.linear_schedule(0.5, 0.0, len(batches))
    optimizer = optax.chain(sam.gradient_transformation(method, rho=schedule), optax.adam(0.1))
    uninterrupted = train(optimizer, params, batches)

    half = train(optimizer, params, batches[:3])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(half))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / type(method).__name__, half)
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / type(method).__name__, jax.eval_shape(lambda: half))
    assert_equal(train(optimizer, restored[0], batches[3:], state=restored[1], first=3), uninterrupted)


# Gradients that are not finite ----------------------------------------------------------------------------------------


def root(w):
    """Its gradient is finite where all of w is below 1, and NaN above: SAM with a large radius gets there."""
    return -jnp.sum(jnp.sqrt(1.0 - w))


@pytest.mark.slow
@each_compiled({"SAM": sam.SAM, "LookSAM": sam.LookSAM, "F-SAM": sam.FriendlySAM})
@together("broken", ["clean", "perturbed"])
def test_a_gradient_of_either_pass_that_is_not_finite_leaves_momentum_and_method_clean(method, broken):
    """Good, bad, good: as if the bad step had not been. (In optax.contrib.sam it poisons the momentum.)"""
    tame = optax.apply_if_finite(optax.sgd(0.01, momentum=0.9), max_consecutive_errors=10)
    radii = {"clean": 0.1, "perturbed": 5.0}
    good_w = jnp.array([0.5, 0.2])

    def step(w, state, bad):
        rho = radii[broken] if bad else 0.1
        at = jnp.array([2.0, 0.2]) if bad and broken == "clean" else w
        optimizer = optax.chain(sam.gradient_transformation(method(rho)), tame)
        updates, state = optimizer.update(jax.grad(root)(at), state, w, grad_fn=jax.grad(root))
        return optax.apply_updates(w, updates), state, updates

    start = optax.chain(sam.gradient_transformation(method(0.1)), tame).init(good_w)
    # The bad step is the first of all, where LookSAM and the others take their second gradient.
    w, state, updates = step(good_w, start, bad=True)
    assert_equal(w, good_w)
    assert_equal(updates, jnp.zeros(2))
    assert_equal(state[0].method, start[0].method)
    assert_equal(state[1].inner_state, start[1].inner_state)
    assert int(state[1].total_notfinite) == 1

    with_a_bad_step, state, _ = step(*step(w, state, bad=False)[:2], bad=False)
    without, expected, _ = step(*step(good_w, start, bad=False)[:2], bad=False)
    assert_equal(with_a_bad_step, without)
    assert_equal((state[0].method, state[1].inner_state), (expected[0].method, expected[1].inner_state))


# With other transformations -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_clipping_after_it_clips_the_final_gradient_and_before_it_changes_no_normalized_ascent():
    params, (batch, *_) = problem()
    method = sam.SAM(0.3)
    _, sharpness_aware, _ = method.value_and_grad(loss)(params, (), *batch)
    length = float(optax.tree.norm(sharpness_aware))
    clip, transformation = optax.clip_by_global_norm(0.1 * length), sam.gradient_transformation(method)

    def update(*transformations):
        chained = optax.chain(*transformations)
        return chained.update(
            gradient(params, *batch), chained.init(params), params, grad_fn=lambda w: gradient(w, *batch)
        )[0]

    assert_close(update(transformation, clip), jax.tree.map(lambda g: 0.1 * g, sharpness_aware))
    assert_close(update(clip, transformation), sharpness_aware)


@pytest.mark.usefixtures("float64")
def test_multi_steps_after_it_accumulate_its_gradients_as_one_batch_with_m_does():
    """Two parts of 8 make one step: SAM of the batch of 16 with m = 8."""
    params, batches = problem()
    parts = [(inputs[half], targets[half]) for inputs, targets in batches for half in (slice(0, 8), slice(8, 16))]
    accumulating = optax.MultiSteps(optax.adam(0.1), every_k_schedule=2)
    found, _ = train(optax.chain(sam.gradient_transformation(sam.SAM(0.3)), accumulating), params, parts)
    expected, _, _ = train_with_method(sam.SAM(0.3, m=8), optax.adam(0.1), params, batches)
    assert_close(found, expected, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_multi_steps_around_it_need_the_gradient_function_of_the_whole_batch():
    """The clean gradients of the parts are accumulated; then SAM ascends along their mean."""
    params, batches = problem()
    optimizer = optax.MultiSteps(
        optax.chain(sam.gradient_transformation(sam.SAM(0.3)), optax.adam(0.1)), every_k_schedule=2
    )
    found, state = params, optimizer.init(params)
    for inputs, targets in batches[:3]:
        for half in (slice(0, 8), slice(8, 16)):
            updates, state = optimizer.update(
                gradient(found, inputs[half], targets[half]),
                state,
                found,
                grad_fn=lambda w, inputs=inputs, targets=targets: gradient(w, inputs, targets),
            )
            found = optax.apply_updates(found, updates)
    expected, _, _ = train_with_method(sam.SAM(0.3), optax.adam(0.1), params, batches[:3])
    assert_close(found, expected, rtol=1e-7)


@pytest.mark.usefixtures("float64")
def test_masked_optimizers_follow_it_and_its_own_mask_is_the_method_s():
    """The kernels are perturbed and decayed; the bias is neither, and is stepped all the same."""
    params, batches = problem()
    matrices = sam.by_dimensions(2)
    decay = optax.masked(optax.add_decayed_weights(0.1), matrices)
    method = sam.SAM(0.3, mask=matrices)
    optimizer = optax.chain(decay, optax.sgd(0.1))
    found, _ = train(optax.chain(sam.gradient_transformation(method), optimizer), params, batches)
    assert_close(found, train_with_method(method, optimizer, params, batches)[0])
    assert not np.array_equal(found["bias"], params["bias"])


@pytest.mark.slow
def test_many_networks_may_be_updated_together_by_vmap():
    params, (batch, *_) = problem()
    optimizer = optax.chain(sam.gradient_transformation(sam.FriendlySAM(0.3)), optax.adam(0.1))

    def step(params):
        updates, _ = optimizer.update(
            gradient(params, *batch), optimizer.init(params), params, grad_fn=lambda w: gradient(w, *batch)
        )
        return optax.apply_updates(params, updates)

    several = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    together = jax.vmap(step)(several)
    for i in range(2):
        alone = step(jax.tree.map(lambda p, i=i: p[i], several))
        assert_close(jax.tree.map(lambda p, i=i: p[i], together), alone, rtol=1e-5)


# Errors ---------------------------------------------------------------------------------------------------------------


@together(
    "make",
    [
        lambda: sam.gradient_transformation(sam.SAM(0.3)),
        lambda: sam.decoupled_wsam(optax.sgd(0.1), 0.1, sam.WSAM(0.3)),
    ],
    ids=["gradient_transformation", "decoupled_wsam"],
)
def test_what_is_missing_is_named_with_a_remedy(make):
    transformation = make()
    w = jnp.ones(2)
    with pytest.raises(ValueError, match=r"update needs grad_fn.*grad_fn=lambda w"):
        transformation.update(w, transformation.init(w), w)
    with pytest.raises(ValueError, match="update needs params"):
        transformation.update(w, transformation.init(w), grad_fn=lambda w: w)
    with pytest.raises(ValueError, match="grad_fn must return only gradients"):
        transformation.update(w, transformation.init(w), w, grad_fn=lambda w: (jnp.sum(w), w))


@together(
    ("method", "what"),
    [
        (sam.SAM(0.3, m=8), "SAM cannot be a gradient transformation: m needs"),
        (sam.ESAM(0.3), "ESAM cannot be a gradient transformation: its choice of examples needs"),
        (sam.SSAM(0.3), "SSAM cannot be a gradient transformation: its choice of parameters needs"),
    ],
)
def test_methods_that_see_examples_are_refused_with_a_remedy(method, what):
    with pytest.raises(ValueError, match=f"{what}.*use method.value_and_grad"):
        sam.gradient_transformation(method)


def test_esam_of_all_examples_is_taken():
    """With gamma = 1 it selects none, and with beta = 1 it is SAM."""
    params, batches = problem()
    esam, plain = (
        train(optax.chain(sam.gradient_transformation(method), optax.sgd(0.1)), params, batches)[0]
        for method in (sam.ESAM(0.3, 1.0, 1.0), sam.SAM(0.3))
    )
    assert_equal(esam, plain)


# Decoupled weighted SAM -----------------------------------------------------------------------------------------------

MATRIX = np.array([[2.0, 0.5], [0.5, 1.0]])


@pytest.mark.usefixtures("float64")
@together("scheduled", [False, True], ids=["constant", "scheduled"])
def test_decoupled_wsam_matches_the_closed_form_with_momentum(scheduled):
    """v = 0.9 v + g; w = w - rate v - rate gamma / (1 - gamma) (g_s - g), on 0.5 w'Aw."""
    rates = optax.linear_schedule(0.1, 0.02, 4) if scheduled else 0.1
    optimizer = sam.decoupled_wsam(optax.sgd(rates, momentum=0.9), rates, sam.WSAM(0.3, gamma=0.8))

    def at(w):
        return jnp.asarray(MATRIX) @ w

    w = expected = np.array([1.0, -2.0])
    w, velocity = jnp.asarray(w), np.zeros(2)
    state = optimizer.init(w)
    for t in range(6):
        updates, state = optimizer.update(at(w), state, w, grad_fn=at)
        w = optax.apply_updates(w, updates)

        rate = 0.1 - 0.02 * min(t, 4) if scheduled else 0.1
        g = MATRIX @ expected
        g_s = MATRIX @ (expected + 0.3 * g / np.linalg.norm(g))
        velocity = 0.9 * velocity + g
        expected = expected - rate * velocity - rate * 0.8 / 0.2 * (g_s - g)
        np.testing.assert_allclose(w, expected, rtol=1e-6 if scheduled else 1e-12)  # optax's schedule is in float32


@pytest.mark.usefixtures("float64")
def test_decoupled_wsam_is_wsam_under_plain_gradient_descent_and_not_with_momentum():
    params, batches = problem()
    method = sam.WSAM(0.3, gamma=0.8)
    for optimizer, equal in ((optax.sgd(0.1), True), (optax.sgd(0.1, momentum=0.9), False)):
        decoupled, _ = train(sam.decoupled_wsam(optimizer, 0.1, method), params, batches)
        coupled, _, _ = train_with_method(method, optimizer, params, batches)
        assert np.allclose(decoupled["in"], coupled["in"], rtol=1e-10) == equal


def test_decoupled_wsam_keeps_the_state_of_its_optimizer_where_a_gradient_is_not_finite():
    optimizer = sam.decoupled_wsam(optax.adam(0.1), 0.1, sam.WSAM(5.0))
    w = jnp.array([0.5, 0.2])
    start = optimizer.init(w)
    updates, state = optimizer.update(jax.grad(root)(w), start, w, grad_fn=jax.grad(root))
    assert np.isnan(updates).all()
    assert_equal(state.optimizer, start.optimizer)


def test_parameters_are_frozen_after_the_decoupled_sharpness():
    params = {"frozen": jnp.array([1.0, 2.0]), "tuned": jnp.array([3.0, -1.0])}
    gradient = jax.grad(lambda p: 0.5 * jnp.sum(p["frozen"] ** 2) + jnp.sum(p["tuned"] ** 2))
    decoupled = sam.decoupled_wsam(optax.sgd(0.1), 0.1, sam.WSAM(0.5))
    frozen = optax.masked(optax.set_to_zero(), {"frozen": True, "tuned": False})
    found, alone = (
        chain.update(gradient(params), chain.init(params), params, grad_fn=gradient)[0]
        for chain in (optax.chain(decoupled, frozen), decoupled)
    )
    np.testing.assert_array_equal(found["frozen"], [0.0, 0.0])
    np.testing.assert_array_equal(found["tuned"], alone["tuned"])
    assert alone["frozen"].all()


def test_for_a_part_of_the_parameters_is_refused_with_the_remedy():
    chain = optax.chain(sam.gradient_transformation(sam.SAM(0.5)), optax.sgd(0.1))
    w = {"a": jnp.ones(2), "b": jnp.ones(2)}
    optimizer = optax.multi_transform({"sam": chain, "plain": optax.sgd(0.1)}, {"a": "sam", "b": "plain"})
    with pytest.raises(ValueError, match=r"optax\.multi_transform .* with mask="):
        optimizer.update(w, optimizer.init(w), w, grad_fn=jax.grad(lambda p: jnp.sum(p["a"] ** 2 + p["b"] ** 2)))
