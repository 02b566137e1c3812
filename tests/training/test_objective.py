import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from widebasin.training.objective import CLASSIFICATION, REGRESSION, accuracy, cross_entropy, squared_error

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


def test_names_start_with_the_loss():
    assert CLASSIFICATION.names == ("loss", "accuracy")
    assert REGRESSION.names == ("loss",)
