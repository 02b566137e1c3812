import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from widebasin.data import LABEL_NOISE_KINDS, corrupt_labels

KEY = jax.random.key(0)
EVERY_KIND = pytest.mark.parametrize("kind", LABEL_NOISE_KINDS)


def labels_of(examples, classes=10):
    return jnp.arange(examples, dtype=jnp.int32) % classes


@pytest.mark.slow
@EVERY_KIND
@given(percent=st.integers(0, 99), examples=st.sampled_from([1, 1437]), seed=st.integers(0, 1000))
def test_exactly_the_floor_of_the_share_is_wrong(kind, percent, examples, seed):
    labels = labels_of(examples)
    noisy = corrupt_labels(jax.random.key(seed), labels, 10, percent / 100, kind)
    assert int(jnp.sum(noisy != labels)) == percent * examples // 100
    assert noisy.dtype == labels.dtype
    assert 0 <= int(noisy.min()) <= int(noisy.max()) < 10


@pytest.mark.parametrize(
    "examples", [1437, *(pytest.param(n, marks=pytest.mark.slow) for n in (10_000, 45_000, 60_000))]
)
def test_a_traced_rate_corrupts_as_many_as_a_python_number(examples):
    labels = labels_of(examples)

    def count(rate):
        return jnp.sum(corrupt_labels(KEY, labels, 10, rate) != labels)

    rates = np.arange(0, 100, 5) / 100
    expected = [percent * examples // 100 for percent in range(0, 100, 5)]
    assert jax.lax.map(count, jnp.array(rates, jnp.float32)).tolist() == expected
    assert [int(count(float(rate))) for rate in rates[[1, 6, 14]]] == [expected[i] for i in (1, 6, 14)]


@EVERY_KIND
def test_a_traced_rate_gives_the_same_labels_as_a_python_number(kind):
    traced = jax.jit(lambda rate: corrupt_labels(KEY, labels_of(1000), 10, rate, kind))
    np.testing.assert_array_equal(traced(0.3), corrupt_labels(KEY, labels_of(1000), 10, 0.3, kind))


@EVERY_KIND
def test_wrong_labels_at_a_low_rate_are_wrong_and_equal_at_every_higher_rate(kind):
    labels = labels_of(1000)
    rates = [0.0, 0.1, 0.2, 0.55, 0.9]
    noisy = [np.asarray(corrupt_labels(KEY, labels, 10, rate, kind)) for rate in rates]
    for low, high in itertools.pairwise(noisy):
        wrong = low != labels
        np.testing.assert_array_equal(high[wrong], low[wrong])
        assert (high != labels).sum() > wrong.sum()


@EVERY_KIND
def test_rate_zero_changes_nothing(kind):
    np.testing.assert_array_equal(corrupt_labels(KEY, labels_of(100), 10, 0.0, kind), labels_of(100))


@pytest.mark.slow
def test_symmetric_noise_is_uniform_over_the_other_classes():
    """Chi-square of the counts of (noisy - label) mod 10 over 1 .. 9, and of the noisy classes of one true class."""
    labels = labels_of(20_000)
    noisy = np.asarray(corrupt_labels(KEY, labels, 10, 0.9))
    wrong = noisy != labels
    shifts = np.bincount((noisy - labels)[wrong] % 10, minlength=10)
    assert shifts[0] == 0
    assert scipy.stats.chisquare(shifts[1:]).pvalue > 1e-3
    of_class_three = np.bincount(noisy[wrong & (np.asarray(labels) == 3)], minlength=10)
    assert of_class_three[3] == 0
    assert scipy.stats.chisquare(np.delete(of_class_three, 3)).pvalue > 1e-3


@EVERY_KIND
def test_every_class_loses_its_share(kind):
    """The corrupted examples are drawn without regard to their class."""
    labels = labels_of(20_000)
    wrong = corrupt_labels(KEY, labels, 10, 0.3, kind) != labels
    assert scipy.stats.chisquare(np.bincount(np.asarray(labels)[np.asarray(wrong)], minlength=10)).pvalue > 1e-3


def test_asymmetric_noise_moves_to_the_next_class_cyclically():
    labels = labels_of(1000, classes=4)
    noisy = np.asarray(corrupt_labels(KEY, labels, 4, 0.6, "asymmetric"))
    wrong = noisy != labels
    next_class = {0: 1, 1: 2, 2: 3, 3: 0}
    assert [next_class[int(label)] for label in np.asarray(labels)[wrong]] == noisy[wrong].tolist()


def test_two_classes_leave_one_wrong_class():
    labels = labels_of(100, classes=2)
    noisy = corrupt_labels(KEY, labels, 2, 0.5)
    wrong = noisy != labels
    np.testing.assert_array_equal(noisy[wrong], 1 - labels[wrong])


@EVERY_KIND
def test_the_key_decides_which_labels_are_wrong(kind):
    labels = labels_of(200)
    first, again, other = (corrupt_labels(jax.random.key(seed), labels, 10, 0.3, kind) != labels for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="must be one of symmetric, asymmetric, got 'pairwise'"):
        corrupt_labels(KEY, labels_of(10), 10, 0.1, "pairwise")


# Several labels for every example -------------------------------------------------------------------------------------


def several(examples, labels, classes, dtype=np.int32, missing=0.3):
    random = np.random.default_rng(examples)
    drawn = random.integers(0, classes, (examples, labels))
    return jnp.asarray(np.where(random.random(drawn.shape) < missing, -1, drawn), dtype)


corrupt = jax.jit(corrupt_labels, static_argnames=("num_classes", "kind"))


@EVERY_KIND
@given(
    percent=st.integers(0, 99),
    seed=st.integers(0, 1000),
    case=st.sampled_from([(20, 7, np.int32), (2, 4, np.int8)]),
)
def test_of_several_labels_the_share_is_wrong_and_what_is_missing_stays(kind, percent, seed, case):
    classes, per_example, dtype = case
    labels = several(300, per_example, classes, dtype)
    noisy = np.asarray(corrupt(jax.random.key(seed), labels, classes, jnp.float32(percent / 100), kind))
    labels = np.asarray(labels)
    assert noisy.dtype == dtype
    known = labels >= 0
    np.testing.assert_array_equal(noisy[~known], -1)
    assert noisy[known].min() >= 0
    assert noisy[known].max() < classes
    wrong = int((noisy != labels).sum())
    assert scipy.stats.binomtest(wrong, int(known.sum()), percent / 100).pvalue > 1e-6
    if kind == "asymmetric":
        moved = noisy != labels
        np.testing.assert_array_equal(noisy[moved], (labels[moved].astype(int) + 1) % classes)


@EVERY_KIND
def test_several_labels_that_are_wrong_stay_wrong_and_equal_at_higher_rates(kind):
    labels = several(500, 6, 5)
    noisy = [np.asarray(corrupt(KEY, labels, 5, jnp.float32(rate), kind)) for rate in (0.0, 0.1, 0.35, 0.9)]
    np.testing.assert_array_equal(noisy[0], labels)
    for low, high in itertools.pairwise(noisy):
        wrong = low != labels
        np.testing.assert_array_equal(high[wrong], low[wrong])
        assert (high != labels).sum() > wrong.sum()


def test_several_labels_are_wrong_independently_and_uniformly():
    """Wrong labels per example are binomial, and the other classes are equally frequent."""
    labels = jnp.full((4_000, 3), 2, jnp.int32)
    noisy = np.asarray(corrupt(KEY, labels, 5, jnp.float32(0.4)))
    wrong = np.bincount((noisy != labels).sum(1), minlength=4)
    expected = 4_000 * scipy.stats.binom.pmf(np.arange(4), 3, 0.4)
    assert scipy.stats.chisquare(wrong, expected).pvalue > 1e-3
    assert scipy.stats.chisquare(np.bincount(noisy[noisy != 2], minlength=5)[[0, 1, 3, 4]]).pvalue > 1e-3


def test_labels_in_a_byte_become_other_classes_too():
    labels = np.arange(1000) % 100
    noisy = np.asarray(corrupt(KEY, jnp.asarray(labels, jnp.int8), 100, jnp.float32(0.9)), int)
    assert (noisy != labels).sum() == 900
    assert noisy.min() >= 0
    assert noisy.max() < 100
    shifts = np.bincount((noisy - labels)[noisy != labels] % 100, minlength=100)[1:]
    assert scipy.stats.chisquare(shifts).pvalue > 1e-3


@pytest.mark.parametrize(("classes", "rate"), [(10, 1.5), (10, -0.1), (10, 1.0), (1, 0.3)])
def test_rates_and_numbers_of_classes_that_make_no_sense_are_refused(classes, rate):
    with pytest.raises(ValueError, match=r"rate must be in|num_classes must be a whole number of at least 2"):
        corrupt_labels(jax.random.key(0), labels_of(10), classes, rate)
