"""The conditions against the exact second moment of the linearized dynamics."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin import theory


def second_moment(hessians, learning_rate, rho):
    """``E M^T M`` of one step ``M_i = I - eta H_i (I + rho H_i)`` with an example drawn at random."""
    identity = np.eye(hessians.shape[-1])
    steps = identity - learning_rate * hessians @ (identity + rho * hessians)
    return np.mean(np.swapaxes(steps, -1, -2) @ steps, axis=0)


def powers(hessians):
    """``H`` and ``D_2, D_3, D_4``."""
    mean = hessians.mean(0)
    return mean, {
        k: np.mean([np.linalg.matrix_power(h, k) for h in hessians], axis=0) - np.linalg.matrix_power(mean, k)
        for k in (2, 3, 4)
    }


def largest(matrix):
    return np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("learning_rate", "rho"), [(0.1, 0.0), (0.1, 0.02), (0.05, 0.3)])
def test_the_second_moment_is_that_of_condition_six(seed, learning_rate, rho):
    roots = np.random.default_rng(seed).normal(size=(6, 4, 4))
    hessians = roots + np.swapaxes(roots, -1, -2)
    mean, moments = powers(hessians)
    first = np.eye(4) - learning_rate * mean - learning_rate * rho * mean @ mean
    expected = (
        first @ first
        + learning_rate * (learning_rate - 2 * rho) * moments[2]
        + 2 * learning_rate**2 * rho * moments[3]
        + learning_rate**2 * rho**2 * moments[4]
    )
    actual = second_moment(hessians, learning_rate, rho)
    np.testing.assert_allclose(actual, expected, atol=1e-12 * np.abs(expected).max())


def conditions(hessians, learning_rate, rho):
    mean, moments = powers(hessians)
    return theory.stability(
        sharpness=float(largest(mean)),
        nonuniformity={k: float(max(largest(d), 0.0) ** (1 / k)) for k, d in moments.items()},
        learning_rate=learning_rate,
        rho=rho,
    )


EIGENVALUES = st.lists(st.lists(st.floats(0, 30), min_size=3, max_size=3), min_size=2, max_size=5)


@given(values=EIGENVALUES, learning_rate=st.floats(0.01, 0.5), share=st.floats(0, 0.49))
def test_where_the_second_moment_does_not_grow_every_condition_holds(values, learning_rate, share):
    """Necessity, for positive Hessians that commute, of which every D_k is positive, and eta > 2 rho."""
    hessians = np.stack([np.diag(v) for v in values])
    rho = share * learning_rate
    if largest(second_moment(hessians, learning_rate, rho)) <= 1:
        found = conditions(hessians, learning_rate, rho)
        assert all(c.bound is None or c.value <= c.bound * (1 + 1e-9) for c in found.conditions), found


def test_one_example_at_the_edge_of_stability():
    """a (1 + rho a) = 2 / eta is where 1 - eta a (1 + rho a) = -1: the second moment is exactly 1."""
    learning_rate, rho = 0.1, 0.05
    edge = (-1 + np.sqrt(1 + 8 * rho / learning_rate)) / (2 * rho)
    np.testing.assert_allclose(second_moment(np.array([[[edge]]]), learning_rate, rho), 1.0, rtol=1e-12)
    for factor, holds in ((0.999, True), (1.001, False)):
        assert theory.stability(sharpness=factor * edge, learning_rate=learning_rate, rho=rho).holds == holds


def test_each_condition_can_fail_alone():
    tight = {2: 1 / np.sqrt(0.1 * 0.06), 3: (1 / (2 * 0.01 * 0.02)) ** (1 / 3), 4: (1 / (0.01 * 0.0004)) ** 0.25}
    for order, other in itertools.product((2, 3, 4), repeat=2):
        values = {order: tight[order] * 1.001} | ({other: tight[other] * 0.999} if other != order else {})
        found = theory.stability(sharpness=1.0, nonuniformity=values, learning_rate=0.1, rho=0.02)
        assert [c.name for c in found.conditions if not c.holds] == [f"s_{order}^{order}"]


@given(a=st.floats(0, 100), s=st.floats(0, 100), learning_rate=st.floats(0.001, 1))
def test_without_an_ascent_the_conditions_are_those_of_stochastic_gradient_descent(a, s, learning_rate):
    """a <= 2 / eta, s_2 <= 1 / eta (Wu et al. 2018); those of higher order do not exist."""
    found = theory.stability(sharpness=a, nonuniformity={2: s, 3: s, 4: s}, learning_rate=learning_rate)
    sharpness, second, third, fourth = found.conditions
    assert (sharpness.value, sharpness.bound) == (a, 2 / learning_rate)
    np.testing.assert_allclose(second.bound, 1 / learning_rate**2, rtol=1e-12)
    assert third.bound is None
    assert third.reason == "rho is 0"
    assert fourth.bound is None


def test_from_twice_the_radius_on_the_condition_on_s2_does_not_exist():
    (_, second) = theory.stability(sharpness=1.0, nonuniformity={2: 1e9}, learning_rate=0.1, rho=0.05).conditions
    assert second.bound is None
    assert "not above 2 rho = 0.1" in second.reason
    assert second.holds


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("sharpness", -1.0),
        ("sharpness", float("nan")),
        ("learning_rate", 0.0),
        ("rho", -0.1),
        ("nonuniformity", {5: 1.0}),
        ("nonuniformity", {2: -1.0}),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_name(argument, value):
    with pytest.raises(ValueError, match=argument):
        theory.stability(**{"sharpness": 1.0, "learning_rate": 0.1} | {argument: value})


@given(learning_rate=st.floats(1e-4, 10.0), rho=st.floats(0.0, 10.0))
def test_the_largest_sharpness_meets_its_condition_and_no_larger_one_does(learning_rate, rho):
    largest = theory.largest_sharpness(learning_rate=learning_rate, rho=rho)
    for factor, holds in ((1 - 1e-9, True), (1 + 1e-9, False)):
        assert theory.stability(sharpness=factor * largest, learning_rate=learning_rate, rho=rho).holds is holds


def exact_second_moments(hessians, learning_rate, rho):
    """``S`` and the spectral radius of ``X -> mean_i M_i X M_i``, on which stability itself depends."""
    identity = np.eye(hessians.shape[1])
    steps = identity - learning_rate * hessians @ (identity + rho * hessians)
    radius = np.abs(np.linalg.eigvals(np.mean([np.kron(step, step) for step in steps], 0))).max()
    return np.linalg.eigvalsh(np.mean(steps @ steps, 0))[-1], radius


def test_a_minimum_may_be_stable_though_a_condition_on_a_moment_is_broken():
    """Three examples in two dimensions: s_2 breaks its bound, (6) does not hold, and the second moment shrinks."""
    inputs = np.array([[-0.530, 0.224], [0.427, 0.334], [0.078, -0.362]])
    hessians = inputs[:, :, None] * inputs[:, None, :]
    mean = hessians.mean(0)
    second = np.linalg.eigvalsh(np.mean(hessians @ hessians, 0) - mean @ mean)[-1] ** 0.5
    sharpness, learning_rate = np.linalg.eigvalsh(mean)[-1], 6.43126
    found = theory.stability(sharpness=sharpness, nonuniformity={2: second}, learning_rate=learning_rate)
    assert [condition.holds for condition in found.conditions] == [True, False]
    largest, radius = exact_second_moments(hessians, learning_rate, 0.0)
    assert largest > 1 > radius
    assert found.verdict == "undecided, because condition (6) cannot hold"


def test_below_twice_the_radius_condition_six_may_hold_though_another_is_broken():
    """63 of 100 examples with Hessian 1, the others 0: the negative term of D_2 makes up for that of D_4."""
    hessians = np.array([1.0] * 63 + [0.0] * 37).reshape(-1, 1, 1)
    share, learning_rate, rho = 0.63, 0.1816, 10.0
    moments = {k: (share - share**k) ** (1 / k) for k in (2, 3, 4)}
    found = theory.stability(sharpness=share, nonuniformity=moments, learning_rate=learning_rate, rho=rho)
    assert exact_second_moments(hessians, learning_rate, rho)[0] < 1
    assert found.conditions[0].holds
    assert not found.holds
    assert found.verdict == "undecided"


@given(
    hessians=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=6),
    learning_rate=st.floats(0.01, 1.0),
    rho=st.floats(0.0, 1.0),
)
def test_where_the_sharpness_breaks_its_condition_the_second_moment_grows(hessians, learning_rate, rho):
    matrices = np.array(hessians).reshape(-1, 1, 1)
    found = theory.stability(sharpness=float(np.mean(hessians)), learning_rate=learning_rate, rho=rho)
    if found.verdict == "not linearly stable":
        assert exact_second_moments(matrices, learning_rate, rho)[1] > 1 - 1e-9


@given(st.floats(1e-4, 10), st.floats(0, 10))
def test_the_largest_sharpness_meets_its_own_condition_whatever_the_rounding(learning_rate, rho):
    a = theory.largest_sharpness(learning_rate=learning_rate, rho=rho)
    assert theory.stability(sharpness=a, learning_rate=learning_rate, rho=rho).holds
    assert not theory.stability(sharpness=a * (1 + 1e-6), learning_rate=learning_rate, rho=rho).holds
