"""m-sharpness: every method on groups of m consecutive examples."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import (
    BATCH,
    DRAWING,
    FAMILY,
    KEY,
    ONE_OF_EACH,
    SEEING_EXAMPLES,
    descent,
    each,
    each_compiled,
    loss,
    problem,
    step,
)
from together import together

from widebasin import sam

pytestmark = pytest.mark.usefixtures("float64")

PERTURBING = {name: method for name, method in ONE_OF_EACH.items() if name != "SGD"}
M = 4
GROUPS = [slice(i, i + M) for i in range(0, BATCH, M)]


def in_groups(method):
    return dataclasses.replace(method, m=M)


def group_by_group(method, params, state, batch, key):
    """The average over groups of what the method computes on each as a batch of its own, with the group's own key."""
    if isinstance(method, sam.SSAM):  # chooses from the whole batch; a count between two choices keeps the choice
        _, _, chosen = step(method, params, state, *batch, key)
        found = [
            step(method, params, chosen._replace(count=jnp.ones_like(chosen.count)), *(x[i] for x in batch), key)
            for i in GROUPS
        ]
        found = [(value, gradients, chosen) for value, gradients, _ in found]
    else:
        found = [
            step(method, params, state, *(x[rows] for x in batch), jax.random.fold_in(key, i))
            for i, rows in enumerate(GROUPS)
        ]
    return jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *found)


@each_compiled(PERTURBING)
def test_groups_equal_the_average_over_batches_of_their_own(method):
    """Value, gradients and state, over four steps: SAM's, those between, and those of a new choice."""
    start = problem()
    params, state = start.params, method.init(start.params)
    for t, batch in enumerate(start.batches[:4]):
        key = jax.random.fold_in(jax.random.key(KEY), t)
        expected = group_by_group(method, params, state, batch, key)
        found = step(in_groups(method), params, state, *batch, key)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13), found, expected)
        whole = step(method, params, state, *batch, key)
        if t == 0:
            assert not np.allclose(found[1]["out"], whole[1]["out"], rtol=1e-3)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, found[1])
        state = found[2]


@each_compiled({name: PERTURBING[name] for name in ("SAM", "ESAM", "friendly SAM", "random SSAM")})
def test_one_group_is_the_whole_batch_bit_for_bit(method):
    start = problem()
    before = start.params, method.init(start.params), start.batches[:2]
    jax.tree.map(
        np.testing.assert_array_equal, descent(dataclasses.replace(method, m=BATCH), *before), descent(method, *before)
    )


@each_compiled({"LookSAM": sam.LookSAM(0.3, 99, m=2), "linearized SAM": sam.LinearizedSAM(0.3, m=2)})
def test_what_is_kept_over_many_steps_keeps_every_bit_whatever_the_number_of_groups(method):
    """The mean over seven groups of equal numbers is not always that number."""
    start = problem()
    numbers = jnp.arange(1.0, 100.0) / 97
    assert np.any(jnp.stack([numbers] * 7).mean(0) != numbers)
    batches = [(inputs[:14], targets[:14]) for inputs, targets in start.batches]
    params, state, _ = descent(method, start.params, method.init(start.params), batches[:1])
    _, after, _ = descent(method, params, state, batches[1:])
    kept = [getattr(s, "orthogonal", None) or s.center for s in (state, after)]
    jax.tree.map(np.testing.assert_array_equal, *kept)


def first_outputs(method, order):
    start = problem()
    batch = [x[order] for x in start.batches[0]]
    return step(method, start.params, method.init(start.params), *batch, jax.random.key(KEY))


def assert_equal_up_to_rounding(left, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13), left, right)


AS_THEY_ARE = np.arange(BATCH)
SHUFFLED = np.random.default_rng(0).permutation(BATCH)
WITHIN_GROUPS = np.concatenate([i + np.random.default_rng(i).permutation(M) for i in range(0, BATCH, M)])
WHOLE_GROUPS = np.arange(BATCH).reshape(-1, M)[[2, 0, 3, 1]].ravel()


@each_compiled(FAMILY)
def test_the_order_of_the_examples_of_a_batch_does_not_matter(method):
    assert_equal_up_to_rounding(first_outputs(method, SHUFFLED), first_outputs(method, AS_THEY_ARE))


@each_compiled(PERTURBING)
def test_the_order_within_groups_does_not_matter_and_who_shares_a_group_does(method):
    expected = first_outputs(in_groups(method), AS_THEY_ARE)
    assert_equal_up_to_rounding(first_outputs(in_groups(method), WITHIN_GROUPS), expected)
    assert not np.allclose(first_outputs(in_groups(method), SHUFFLED)[1]["out"], expected[1]["out"], rtol=1e-6)


@each_compiled({name: method for name, method in PERTURBING.items() if name not in DRAWING or name == "random SSAM"})
def test_the_order_of_groups_does_not_matter_where_they_draw_nothing_of_their_own(method):
    expected = first_outputs(in_groups(method), AS_THEY_ARE)
    assert_equal_up_to_rounding(first_outputs(in_groups(method), WHOLE_GROUPS), expected)


@pytest.mark.slow
def test_groups_draw_apart():
    """On equal groups, equal draws would give the gradient of one of them."""
    start = problem()
    batch = [jnp.tile(x[:M], (4,) + (1,) * (x.ndim - 1)) for x in start.batches[0]]
    method, key = sam.RandomPerturbation(0.3, m=M), jax.random.key(KEY)
    _, found, _ = step(method, start.params, (), *batch, key)
    whole = dataclasses.replace(method, m=None)
    for i in range(4):
        _, one, _ = step(whole, start.params, (), *(x[:M] for x in batch), jax.random.fold_in(key, i))
        assert not np.allclose(found["out"], one["out"], rtol=1e-3)


# What is refused, before anything is computed


def traced(method, *batch, **options):
    """Runs nothing: errors arrive when the step is traced."""
    params = problem().params
    function = method.value_and_grad(loss, **options)
    return jax.eval_shape(lambda *batch: function(params, method.init(params), *batch, key=jax.random.key(0)), *batch)


@each(PERTURBING)
def test_an_m_that_does_not_divide_the_batch_is_refused_with_a_divisor(method):
    with pytest.raises(ValueError, match="m = 5 does not divide the batch of 16 examples; choose a divisor, such as 4"):
        traced(dataclasses.replace(method, m=5), *problem().batches[0])


@each(PERTURBING)
def test_an_m_larger_than_the_batch_is_refused(method):
    with pytest.raises(ValueError, match=r"m = 32 does not divide the batch of 16 examples; .* such as 16"):
        traced(dataclasses.replace(method, m=32), *problem().batches[0])


@each({name: in_groups(method) for name, method in PERTURBING.items()} | SEEING_EXAMPLES)
def test_a_batch_of_no_examples_is_refused(method):
    with pytest.raises(ValueError, match="the batch has no examples"):
        traced(method, jnp.zeros((0, 2)), jnp.zeros(0))


def test_arguments_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="16 in argument 1, 8 in argument 2; name those with examples by"):
        traced(sam.SAM(m=M), jnp.zeros((16, 2)), jnp.zeros(8))


def test_an_argument_that_is_no_array_of_examples_is_refused():
    with pytest.raises(ValueError, match="argument 2 of the loss is not an array of examples: it has a leaf of shape"):
        traced(sam.SAM(m=M), jnp.zeros((16, 2)), jnp.zeros(()))


@together("position", [0, 3, -1])
def test_batch_argnums_that_name_no_examples_are_refused(position):
    with pytest.raises(ValueError, match=f"batch_argnums must name positional arguments .* got {position}"):
        traced(sam.SAM(m=M), *problem().batches[0], batch_argnums=(1, position))


@pytest.mark.slow
@together("method", [sam.ESAM(0.3, 1.0, m=M), sam.SSAM(0.3, m=M)])
def test_batch_argnums_leave_the_other_arguments_whole(method):
    """A scale that looks like examples, and a keyword, reach every group as they are."""
    start = problem()
    inputs, targets = start.batches[0]
    scale = jnp.arange(1.0, 4.0)

    def scaled_loss(params, scale, inputs, targets):
        return loss(params | {"out": params["out"] * scale}, inputs, targets)

    def closed(params, inputs, targets):
        return scaled_loss(params, scale, inputs, targets)

    state = method.init(start.params)
    found = jax.jit(method.value_and_grad(scaled_loss, batch_argnums=(2, 3)))(
        start.params, state, scale, inputs, targets
    )
    expected = jax.jit(method.value_and_grad(closed))(start.params, state, inputs, targets)
    assert_equal_up_to_rounding(found, expected)


# Auxiliary data


def aux_loss(params, inputs, targets):
    return loss(params, inputs, targets), {"largest": jnp.max(inputs), "count": jnp.asarray(len(inputs), jnp.int32)}


@each_compiled(
    {name: in_groups(FAMILY[name]) for name in ("SAM", "ESAM", "SSAM", "random perturbation", "linearized SAM")}
)
def test_auxiliary_data_of_groups_are_averaged_or_merged_as_told(method):
    start = problem()
    inputs, targets = start.batches[0]
    state, key = method.init(start.params), jax.random.key(KEY)

    def largest_only(*args):
        value, aux = aux_loss(*args)
        return value, {"largest": aux["largest"]}

    def merge(stacked):
        return {"largest": jnp.max(stacked["largest"]), "count": jnp.sum(stacked["count"])}

    @jax.jit
    def found(state, key):
        arguments = start.params, state, inputs, targets
        averaged = method.value_and_grad(largest_only, has_aux=True)(*arguments, key=key)
        merged = method.value_and_grad(aux_loss, has_aux=True, merge_aux=merge)(*arguments, key=key)
        return averaged[0], merged[0]

    (value, averaged), (_, merged) = found(state, key)
    largest = [float(jnp.max(inputs[rows])) for rows in GROUPS]
    np.testing.assert_allclose(value, np.mean([loss(start.params, inputs[i], targets[i]) for i in GROUPS]), rtol=1e-12)
    np.testing.assert_allclose(averaged["largest"], np.mean(largest), rtol=1e-14)
    assert (float(merged["largest"]), int(merged["count"])) == (max(largest), BATCH)


def test_integers_are_not_averaged_and_the_remedy_is_told():
    start = problem()
    with pytest.raises(TypeError, match=r"\['count'\] has dtype int32, which cannot be averaged .* merge_aux=lambda"):
        jax.eval_shape(sam.SAM(m=M).value_and_grad(aux_loss, has_aux=True), start.params, (), *start.batches[0])
    whole = jax.jit(sam.SAM(m=BATCH).value_and_grad(aux_loss, has_aux=True))
    (_, aux), _, _ = whole(start.params, (), *start.batches[0])
    assert int(aux["count"]) == BATCH  # one group has nothing to merge
