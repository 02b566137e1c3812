"""The bound against exact expectations over batches on interpolating least squares."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin import theory


def batches(examples, size):
    """Every batch drawn with replacement, as counts, with its probability."""
    for chosen in itertools.combinations_with_replacement(range(examples), size):
        counts = np.bincount(chosen, minlength=examples)
        ways = math.factorial(size) / np.prod([math.factorial(c) for c in counts])
        yield counts / size, ways / examples**size


def worst_factor(inputs, batch_size, learning_rate, rho):
    """The largest ``E f(w+) / f(w)`` over ``w``, for ``f_i = (x_i w)^2 / 2``: a generalized eigenvalue."""
    hessians = inputs[:, :, None] * inputs[:, None, :]
    mean = hessians.mean(0)
    identity = np.eye(len(mean))
    expected = np.zeros_like(mean)
    for weights, probability in batches(len(inputs), batch_size):
        hessian = np.tensordot(weights, hessians, 1)
        step = identity - learning_rate * hessian @ (identity + rho * hessian)
        expected += probability * step.T @ mean @ step
    values, vectors = np.linalg.eigh(mean)
    root = vectors / np.sqrt(values)
    return np.linalg.eigvalsh(root.T @ expected @ root)[-1]


def constants(inputs):
    values = np.linalg.eigvalsh(inputs.T @ inputs / len(inputs))
    return {
        "smoothness_each": float((inputs**2).sum(1).max()),
        "smoothness": float(values[-1]),
        "pl": float(values[0]),
    }


PROBLEMS = [np.random.default_rng(seed).normal(size=(4, 3)) for seed in range(3)]


@pytest.mark.parametrize("batch_size", [1, 2, 4, 8])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("problem", range(3))
def test_the_expected_loss_contracts_at_least_as_fast_as_guaranteed(problem, share, batch_size):
    """At the best step size, half of it, and close to the largest."""
    inputs = PROBLEMS[problem]
    known = constants(inputs) | {"batch_size": batch_size}
    rho = share * theory.convergence(**known).max_rho
    best = theory.convergence(**known, rho=rho)
    assert best.guaranteed
    for learning_rate in (best.learning_rate, 0.5 * best.learning_rate, 0.999 * best.max_learning_rate):
        found = theory.convergence(**known, rho=rho, learning_rate=learning_rate)
        assert worst_factor(inputs, batch_size, learning_rate, rho) <= found.factor + 1e-12
        assert best.factor <= found.factor


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("problem", range(3))
def test_the_whole_data_as_a_batch_contract_as_the_bound_of_endless_batches_says(problem, share):
    """All examples, each once: no noise is left, as in the limit of batches drawn with replacement."""
    inputs = PROBLEMS[problem]
    known = constants(inputs) | {"batch_size": 10**9}
    rho = share * theory.convergence(**known).max_rho
    hessian = inputs.T @ inputs / len(inputs)
    values = np.linalg.eigvalsh(hessian)
    for fraction in (0.5, 1.0, 1.998):
        learning_rate = fraction * theory.convergence(**known, rho=rho).learning_rate
        bound = theory.convergence(**known, rho=rho, learning_rate=learning_rate).factor
        # In its eigenvectors a step multiplies each coordinate, and so its share of the loss.
        assert np.max((1 - learning_rate * values * (1 + rho * values)) ** 2) <= bound + 1e-8


def test_one_direction_meets_the_bound_of_gradient_descent():
    """With one example every batch is the whole: f = 2 w^2 is contracted by (1 - eta 4)^2, to 0 at the best step."""
    found = theory.convergence(smoothness_each=4.0, smoothness=4.0, pl=4.0)
    assert found.learning_rate == 0.25
    assert found.factor == 0.0
    assert found.steps(0.5) == 1


# (pl, smoothness / pl, smoothness_each / smoothness, batch size, share of the largest radius)
CONSTANTS = st.tuples(
    st.floats(0.01, 100.0), st.floats(1.0, 50.0), st.floats(1.0, 50.0), st.integers(1, 64), st.floats(0, 0.99)
)


@given(constants=CONSTANTS)
def test_both_conventions_give_the_same_numbers(constants):
    pl, more, most, batch, t = constants
    smoothness = pl * more
    known = {"smoothness": smoothness, "smoothness_each": smoothness * most, "batch_size": batch}
    rho = t * theory.convergence(**known, pl=pl).max_rho
    half = theory.convergence(**known, pl=pl, rho=rho)
    full = theory.convergence(**known, pl=2 * pl, rho=rho, pl_convention="full")
    np.testing.assert_allclose(
        [half.learning_rate, half.factor, half.max_rho], [full.learning_rate, full.factor, full.max_rho], rtol=1e-12
    )


@given(constants=CONSTANTS)
def test_the_formulas_in_the_convention_of_the_paper(constants):
    """kappa = (beta / alpha + (B - 1) / 2) / B, with alpha = 2 pl."""
    pl, more, most, batch, t = constants
    smoothness, beta, alpha = pl * more, pl * more * most, 2 * pl
    kappa = (beta / alpha + (batch - 1) / 2) / batch
    max_rho = 1 / ((kappa + 0.5) * beta)
    rho = t * max_rho
    eta = (1 - (kappa + 0.5) * beta * rho) / (2 * smoothness * kappa * (1 + beta * rho) ** 2)
    factor = 1 - alpha / 2 * (1 - (kappa + 0.5) * beta * rho) * eta
    found = theory.convergence(smoothness_each=beta, smoothness=smoothness, pl=pl, rho=rho, batch_size=batch)
    np.testing.assert_allclose(
        [found.learning_rate, found.factor, found.max_rho], [eta, factor, max_rho], rtol=1e-9, atol=1e-14
    )


@given(constants=CONSTANTS)
def test_without_an_ascent_it_is_the_rate_of_stochastic_gradient_descent(constants):
    """eta = a / (k lambda), factor 1 - a eta (Bassily et al. 2018)."""
    pl, more, most, batch, _ = constants
    smoothness, beta = pl * more, pl * more * most
    k = (beta + pl * (batch - 1)) / batch
    found = theory.convergence(smoothness_each=beta, smoothness=smoothness, pl=pl, batch_size=batch)
    np.testing.assert_allclose(found.learning_rate, pl / (k * smoothness), rtol=1e-12)
    np.testing.assert_allclose(found.factor, 1 - pl * found.learning_rate, rtol=1e-9, atol=1e-12)


def test_from_the_largest_radius_on_nothing_is_guaranteed():
    known = {"smoothness_each": 2.0, "smoothness": 1.0, "pl": 0.5}
    max_rho = theory.convergence(**known).max_rho
    assert theory.convergence(**known, rho=0.99 * max_rho).guaranteed
    beyond = theory.convergence(**known, rho=max_rho)
    assert (beyond.learning_rate, beyond.factor, beyond.max_learning_rate) == (0.0, 1.0, 0.0)
    assert not beyond.guaranteed
    assert beyond.steps(0.1) == math.inf


def test_a_step_size_too_large_guarantees_nothing():
    known = {"smoothness_each": 2.0, "smoothness": 1.0, "pl": 0.5, "rho": 0.05}
    largest = theory.convergence(**known).max_learning_rate
    assert theory.convergence(**known, learning_rate=0.999 * largest).guaranteed
    assert not theory.convergence(**known, learning_rate=1.001 * largest).guaranteed


@given(share=st.floats(1e-9, 0.999))
def test_steps_reach_the_share_and_one_less_does_not(share):
    found = theory.convergence(smoothness_each=2.0, smoothness=1.0, pl=0.5, rho=0.1)
    steps = found.steps(share)
    assert found.factor**steps <= share * (1 + 1e-9)
    assert found.factor ** (steps - 1) > share * (1 - 1e-9)


GOOD = {"smoothness_each": 2.0, "smoothness": 1.0, "pl": 0.5}


@pytest.mark.parametrize(
    ("argument", "value", "remedy"),
    [
        ("smoothness_each", 0.0, "> 0"),
        ("smoothness", float("nan"), "> 0"),
        ("pl", -1.0, "> 0"),
        ("pl", 1.5, "at most 1"),
        ("smoothness", 3.0, "at most smoothness_each = 2"),
        ("rho", -0.1, ">= 0"),
        ("rho", math.inf, ">= 0"),
        ("batch_size", 0, "at least 1"),
        ("learning_rate", -1.0, "> 0"),
        ("learning_rate", 0.0, "> 0"),
        ("pl_convention", "polyak", "'half' or 'full'"),
    ],
)
def test_constants_that_cannot_be_are_refused_by_name_and_value(argument, value, remedy):
    with pytest.raises(ValueError, match=argument) as error:
        theory.convergence(**GOOD | {argument: value})
    assert remedy in str(error.value)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match="share"):
        theory.convergence(**GOOD).steps(1.0)
