import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from widebasin.statistics import ACCURACY, LOSS, Metric
from widebasin.training.objective import (
    CLASSIFICATION,
    REGRESSION,
    SQUARED_CLASSIFICATION,
    Objective,
    accuracy,
    cross_entropy,
    one_hot_squared_error,
    squared_error,
)

logits = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=6)


@given(logits)
def test_cross_entropy_is_minus_the_log_of_the_softmax(values):
    expected = -scipy.special.log_softmax(np.array(values, np.float64))
    for label in range(len(values)):
        assert float(cross_entropy(jnp.array(values, jnp.float32), jnp.int32(label))) == pytest.approx(
            expected[label], abs=2e-5
        )


@given(logits)
def test_accuracy_is_one_for_the_largest_logit_alone(values):
    winners = [float(accuracy(jnp.array(values, jnp.float32), jnp.int32(label))) for label in range(len(values))]
    assert winners == [float(label == int(np.argmax(np.float32(values)))) for label in range(len(values))]


def test_squared_error_sums_over_outputs():
    assert float(squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0]))) == 5.0


def test_gradient_of_cross_entropy_is_softmax_minus_one_hot():
    values = jnp.array([0.3, -1.0, 2.0])
    gradient = jax.grad(cross_entropy)(values, jnp.int32(1))
    np.testing.assert_allclose(gradient, scipy.special.softmax(values) - np.array([0, 1, 0]), rtol=1e-5)


@given(logits)
def test_one_hot_squared_error_is_the_squared_length_less_twice_the_label_plus_one(values):
    """``||z - e_y||^2 = ||z||^2 - 2 z_y + 1``."""
    exact = np.array(values, np.float64)
    for label in range(len(values)):
        found = float(one_hot_squared_error(jnp.array(values, jnp.float32), jnp.int32(label)))
        assert found == pytest.approx(exact @ exact - 2 * exact[label] + 1, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("label", range(3))
def test_the_gradient_of_one_hot_squared_error_vanishes_at_the_unit_vector_alone(label):
    outputs = jnp.array([0.3, -1.0, 2.0])
    gradient = jax.grad(one_hot_squared_error)(outputs, jnp.int32(label))
    np.testing.assert_allclose(gradient, 2 * (np.asarray(outputs) - np.eye(3)[label]), rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(one_hot_squared_error)(jnp.eye(3)[label], jnp.int32(label)), np.zeros(3))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_one_hot_squared_error_keeps_the_type_of_the_outputs(dtype):
    error = one_hot_squared_error(jnp.zeros(4, dtype), jnp.int32(2))
    assert (error.dtype, float(error)) == (dtype, 1.0)


def test_squared_classification_minimizes_the_one_hot_error_and_chooses_by_accuracy():
    outputs, label = jnp.array([0.5, 2.0, 0.0]), jnp.int32(0)
    assert float(SQUARED_CLASSIFICATION.loss(outputs, label)) == 0.25 + 4.0
    wrong, right = (float(SQUARED_CLASSIFICATION.metrics[ACCURACY](outputs, jnp.int32(k))) for k in (0, 1))
    assert (wrong, right) == (0.0, 1.0)


def test_the_first_metric_judges_unless_another_is_named():
    top = Metric("top3", True)
    assert CLASSIFICATION.all_metrics == SQUARED_CLASSIFICATION.all_metrics == (ACCURACY,)
    assert REGRESSION.all_metrics == (LOSS,)
    several = {ACCURACY: accuracy, top: accuracy}
    assert Objective(cross_entropy, several).all_metrics == (ACCURACY, top)
    assert Objective(cross_entropy, several, judge=top).all_metrics == (top, ACCURACY)
    assert Objective(cross_entropy, several, judge=LOSS).all_metrics == (LOSS, ACCURACY, top)
    with pytest.raises(ValueError, match="judge must be one of accuracy, loss, got 'top3'"):
        Objective(cross_entropy, {ACCURACY: accuracy}, judge=top)


def test_two_metrics_of_one_name_are_refused():
    """One would silently take the place of the other, or of the loss that is minimized."""
    with pytest.raises(ValueError, match="got accuracy twice"):
        Objective(cross_entropy, {ACCURACY: accuracy}, {ACCURACY: lambda outputs, targets: 0.0})
    with pytest.raises(ValueError, match="none may be loss, got loss twice"):
        Objective(cross_entropy, {Metric("loss", True): accuracy})
