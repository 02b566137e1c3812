import dataclasses
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sam.family import (
    DRAWING,
    FAMILY,
    KEY,
    ONE_OF_EACH,
    PERTURBING,
    TRACES,
    descent,
    each,
    each_compiled,
    loss,
    problem,
    step,
)
from together import together

from widebasin import sam
from widebasin.sam._method import check_mask, check_radius


def assert_close(left, right, rtol=1e-11):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-14), left, right)


@together("name", sorted(sam.METHODS))
def test_every_registered_method_satisfies_the_protocol(name):
    assert isinstance(sam.METHODS[name].with_radius(0.1), sam.Method)


@together("thing", [0.1, object(), sam.value_and_grad])
def test_other_things_do_not_satisfy_the_protocol(thing):
    assert not isinstance(thing, sam.Method)


def test_the_family_under_test_is_the_family_of_the_registry():
    registered = {type(entry.with_radius(0.1)) for entry in sam.METHODS.values()}
    assert {type(method) for method in FAMILY.values()} == registered


@each_compiled(ONE_OF_EACH)
@pytest.mark.usefixtures("float64")
def test_compiled_equals_eager_and_the_value_and_aux_are_those_of_the_clean_pass(method):
    start = problem()
    batch, key = start.batches[0], jax.random.fold_in(jax.random.key(KEY), 0)
    after, state, [(value, gradients)] = descent(method, start.params, method.init(start.params), [batch])

    def with_aux(params, inputs, targets):
        return loss(params, inputs, targets), {"parameters": params}

    (eager_value, aux), eager_gradients, eager_state = method.value_and_grad(with_aux, has_aux=True)(
        start.params, method.init(start.params), *batch, key=key
    )
    assert_close((eager_gradients, eager_state), (gradients, state))
    assert_close((eager_value, value), (loss(start.params, *batch), loss(start.params, *batch)))
    jax.tree.map(np.testing.assert_array_equal, aux["parameters"], start.params)
    assert not np.allclose(after["out"], start.params["out"])


@each_compiled({name: method for name, method in FAMILY.items() if name not in DRAWING})
@pytest.mark.usefixtures("float64")
def test_the_key_of_a_method_that_draws_nothing_is_ignored(method):
    start = problem()
    first, second = (
        step(method, start.params, method.init(start.params), *start.batches[0], jax.random.key(seed))
        for seed in (0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.slow
@each_compiled(DRAWING)
@pytest.mark.usefixtures("float64")
def test_a_method_that_draws_refuses_to_go_without_a_key_and_follows_it(method):
    start = problem()
    state, batch = method.init(start.params), start.batches[0]
    with pytest.raises(ValueError, match=f"{type(method).__name__} draws random numbers: pass key="):
        method.value_and_grad(loss)(start.params, state, *batch)
    found = [step(method, start.params, state, *batch, jax.random.key(seed))[1]["out"] for seed in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(found[0], found[1])
    assert any(not np.allclose(found[0], other) for other in found[2:])


# A method is a pytree whose leaves are its hyperparameters.


@each(FAMILY)
def test_a_method_survives_a_round_trip(method):
    leaves, structure = jax.tree.flatten(method)
    assert jax.tree.unflatten(structure, leaves) == method


@each(FAMILY)
def test_a_method_is_frozen_and_can_be_a_key(method):
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.rho = 1.0
    assert {method: 1}[method] == 1


def variants(method):
    """The method at three other values of all its hyperparameters that may be traced."""
    return [jax.tree.map(lambda leaf, factor=factor: leaf * factor, method) for factor in (0.5, 0.8, 1.1)]


@each_compiled({name: method for name, method in ONE_OF_EACH.items() if name != "SGD"})
@pytest.mark.usefixtures("float64")
def test_one_compiled_program_serves_all_hyperparameters_and_vmap_over_them_equals_a_loop(method):
    """``rho``, ``alpha``, ``beta``, ``gamma`` of WSAM, ``sigma``, ``decay`` and ``eta``, all at once."""
    start = problem()
    batch, key = start.batches[0], jax.random.key(0)
    params = jax.tree.map(lambda leaf: 0.9 * leaf, start.params)
    _, state, _ = descent(method, start.params, method.init(start.params), start.batches[:1])
    # At radius 0 no example feels the ascent of ESAM more than another: rounding chooses.
    others = [*variants(method), dataclasses.replace(method, rho=0.01 if isinstance(method, sam.ESAM) else 0.0)]

    step(method, params, state, *batch, key)
    traces = len(TRACES)
    alone = [step(other, params, state, *batch, key) for other in others]
    assert len(TRACES) == traces

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *others)
    together = jax.jit(jax.vmap(lambda method: method.value_and_grad(loss)(params, state, *batch, key=key)))(stacked)
    for i, expected in enumerate(alone):
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), expected)
    if not isinstance(method, sam.SAMEveryK):  # after a step of SAM, it has none
        assert not np.allclose(alone[0][1]["out"], alone[2][1]["out"])


@each_compiled({name: method for name, method in FAMILY.items() if isinstance(method, sam.LookSAM | sam.SAMEveryK)})
@pytest.mark.usefixtures("float64")
def test_at_a_step_of_sam_the_radius_matters(method):
    start = problem()
    batch, state, key = start.batches[0], method.init(start.params), jax.random.key(KEY)
    found = [step(other, start.params, state, *batch, key)[1]["out"] for other in variants(method)]
    assert not np.allclose(found[0], found[1])
    assert not np.allclose(found[1], found[2])


# Refusals


@together("rho", [-1e-9, -0.05, math.nan, math.inf, -math.inf, np.float32(-1), Fraction(-1, 2), -1])
def test_what_is_no_radius_is_refused_by_name_and_value(rho):
    with pytest.raises(ValueError, match="rho must be a finite number >= 0, got") as error:
        check_radius(rho)
    assert str(rho) in str(error.value)


@each(PERTURBING)
@together("rho", [-0.1, math.nan])
def test_every_method_refuses_what_is_no_radius(method, rho):
    with pytest.raises(ValueError, match=f"rho must be a finite number >= 0, got {rho}"):
        dataclasses.replace(method, rho=rho)


@each(PERTURBING)
@together("m", [0, -4])
def test_every_method_refuses_groups_of_no_examples(method, m):
    with pytest.raises(ValueError, match=f"m must be a number of examples of at least 1, or None .* got {m}"):
        dataclasses.replace(method, m=m)


@together("rho", [0, 0.0, 0.05, 3, np.float32(0.1)])
def test_radii_are_accepted(rho):
    check_radius(rho)


def test_traced_radii_pass_unseen():
    assert float(jax.jit(lambda rho: (check_radius(rho), rho)[1])(-1.0)) == -1.0


@together("rho", ["0.1", lambda step: 0.1])
def test_a_radius_that_is_no_number_is_refused_with_a_remedy(rho):
    with pytest.raises(TypeError, match="rho must be a number"):
        check_radius(rho)


def test_a_mask_that_is_no_function_is_refused_with_a_remedy():
    with pytest.raises(TypeError, match="lambda gradients"):
        check_mask({"weight": True})
    check_mask(None)
    check_mask(lambda gradients: True)
