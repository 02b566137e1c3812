import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from training.sized import PLAIN

from widebasin.statistics import ACCURACY, LOSS, MEAN_AVERAGE_PRECISION, ROC_AUC, Metric
from widebasin.training import Batch
from widebasin.training.objective import (
    BINARY_TASKS,
    CLASSIFICATION,
    REGRESSION,
    SQUARED_CLASSIFICATION,
    TAGGING,
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
    named = Objective(cross_entropy, {ACCURACY: accuracy})
    object.__setattr__(named, "judge", "accuracy")  # tests check the types of arguments
    with pytest.raises(ValueError, match="one of accuracy, loss, got 'accuracy', which is no Metric"):
        named.__post_init__()


def test_two_metrics_of_one_name_are_refused():
    """One would silently take the place of the other, or of the loss that is minimized."""
    with pytest.raises(ValueError, match="got accuracy twice"):
        Objective(cross_entropy, {ACCURACY: accuracy}, {ACCURACY: lambda outputs, targets: 0.0})
    with pytest.raises(ValueError, match="none may be loss, got loss twice"):
        Objective(cross_entropy, {Metric("loss", True): accuracy})


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (lambda outputs, target: outputs[:1], r"\(1,\)"),
        (lambda outputs, target: outputs, r"\(3,\)"),
        (lambda outputs, target: (outputs.sum(), outputs), r"\(\) and \(3,\)"),
        (lambda outputs, target: (outputs[0], outputs[1], outputs[2]), r"\(\) and \(\) and \(\)"),
        (lambda outputs, target: {"sum": outputs[0]}, r"\(\)"),
    ],
)
def test_the_value_of_an_example_is_a_number(value, shape):
    """Of shape (1,) it would be multiplied by the number of examples, in silence."""
    outputs, targets = jnp.zeros((5, 3)), jnp.zeros(5, jnp.int32)
    top = Metric("top3", True)
    for name, objective in (("loss", Objective(value)), ("top3", Objective(cross_entropy, {top: value}))):
        with pytest.raises(ValueError, match=f"the {name} of an example must be a number, or .* has shape {shape}: g"):
            objective.of_examples(outputs, targets)


def test_truth_values_and_integers_are_numbers_that_can_be_averaged():
    outputs, targets = jnp.eye(3), jnp.array([0, 1, 1])
    top = Metric("top1", True)
    with pytest.raises(ValueError, match="loss of an example must be of floating point, got bool"):
        Objective(lambda o, t: jnp.argmax(o) != t).of_examples(outputs, targets)
    for right in (lambda o, t: jnp.argmax(o) == t, lambda o, t: (jnp.argmax(o) == t, jnp.int32(2))):
        values, weights = Objective(cross_entropy, {top: right}).of_examples(outputs, targets)["top1"]
        assert values.tolist() == [1.0, 1.0, 0.0]
        assert all(isinstance(one, int) or jnp.issubdtype(one.dtype, jnp.inexact) for one in (values, weights))


def test_the_value_of_a_data_set_is_a_number():
    top = Metric("top3", True)
    for value in (0.25, np.float32(0.25), np.array(0.25), jnp.array(0.25)):
        assert Objective(cross_entropy, {}, {top: lambda o, t, v=value: v}).of_whole(np.ones(3), None) == {"top3": 0.25}
    for value, got in ((None, "NoneType"), (np.array([0.5]), r"ndarray of shape \(1,\)"), ("0.5", "str")):
        with pytest.raises(ValueError, match=f"top3 of a data set must be a number, and is of type {got}"):
            Objective(cross_entropy, {}, {top: lambda o, t, v=value: v}).of_whole(np.ones(3), None)


# Labels of which some are missing -------------------------------------------------------------------------------------


def several_labels(classes, seed=0, examples=12, labels=7):
    """Labels, -1 where one is missing, as in all of the second example."""
    random = np.random.default_rng(seed)
    found = np.where(random.random((examples, labels)) < 0.4, -1, random.integers(0, classes, (examples, labels)))
    found[1] = -1
    return found


def summed(function, outputs, targets):
    """Sum of the values and of the weights of all examples."""
    values, weights = jax.vmap(function)(jnp.asarray(outputs, jnp.float32), jnp.asarray(targets))
    return np.asarray(values), np.asarray(weights)


def test_tagging_is_what_scikit_learn_says_of_the_known_tags():
    tags = several_labels(4)
    outputs = 3 * np.random.default_rng(1).normal(size=(*tags.shape, 4))
    known = tags >= 0
    shares = scipy.special.softmax(outputs[known], 1)
    for function, expected in (
        (
            TAGGING.loss,
            sklearn.metrics.log_loss(tags[known], shares, labels=range(4)),
        ),
        (TAGGING.metrics[ACCURACY], sklearn.metrics.accuracy_score(tags[known], outputs[known].argmax(1))),
    ):
        values, weights = summed(function, outputs, tags)
        np.testing.assert_array_equal(weights, known.sum(1))
        assert values[1] == 0
        assert values.sum() / weights.sum() == pytest.approx(expected, rel=1e-5)
        # What stands where no tag is known does not matter.
        np.testing.assert_array_equal(summed(function, np.where(known[..., None], outputs, 1e3), tags)[0], values)
    assert TAGGING.all_metrics == (ACCURACY,)


@pytest.mark.parametrize("dtype", [np.int8, np.int32])
def test_binary_tasks_are_what_scikit_learn_says_of_the_known_labels(dtype):
    labels = several_labels(2).astype(dtype)
    outputs = 3 * np.random.default_rng(1).normal(size=labels.shape)
    known = labels >= 0
    values, weights = summed(BINARY_TASKS.loss, outputs, labels)
    np.testing.assert_array_equal(weights, known.sum(1))
    assert values[1] == 0
    expected = sklearn.metrics.log_loss(labels[known], scipy.special.expit(outputs[known]))
    assert values.sum() / weights.sum() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(summed(BINARY_TASKS.loss, np.where(known, outputs, -1e3), labels)[0], values)
    precisions, areas = (
        [
            score(column[there], scores[there])
            for column, scores, there in zip(labels.T, outputs.T, known.T, strict=True)
        ]
        for score in (sklearn.metrics.average_precision_score, sklearn.metrics.roc_auc_score)
    )
    assert BINARY_TASKS.of_dataset[MEAN_AVERAGE_PRECISION](outputs, labels) == pytest.approx(np.mean(precisions))
    assert BINARY_TASKS.of_dataset[ROC_AUC](outputs, labels) == pytest.approx(np.mean(areas))
    assert BINARY_TASKS.all_metrics == (MEAN_AVERAGE_PRECISION, ROC_AUC)


def test_gradients_are_those_of_the_known_labels_alone_and_finite_at_large_outputs():
    labels = jnp.array([1, -1, 0])
    for outputs in (jnp.array([0.3, 2.0, -1.0]), jnp.array([-1e4, 1e30, 1e4])):
        gradient = jax.grad(lambda z: BINARY_TASKS.loss(z, labels)[0])(outputs)
        np.testing.assert_allclose(gradient, [jax.nn.sigmoid(outputs[0]) - 1, 0, jax.nn.sigmoid(outputs[2])], atol=1e-6)
    logits = jnp.array([[0.3, -1.0], [5.0, 5.0], [1e30, -1e30]])
    gradient = jax.grad(lambda z: TAGGING.loss(z, jnp.array([1, -1, 1]))[0])(logits)
    first = scipy.special.softmax([0.3, -1.0])
    np.testing.assert_allclose(gradient, [[first[0], first[1] - 1], [0, 0], [1, -1]], atol=1e-6)


def test_example_losses_average_to_the_loss_also_where_no_label_is_known():
    """Of the small graphs, whose labels are missing in part."""
    problem = PLAIN["graphs"]
    targets = problem.dataset.targets[:9]
    outputs = jnp.asarray(np.random.default_rng(0).normal(size=targets.shape), jnp.float32)
    for labels in (targets, np.full_like(targets, -1)):
        batch = Batch(jax.tree.map(lambda leaf: leaf[:9], problem.dataset.inputs), jnp.asarray(labels))
        losses = problem.example_losses_of(outputs, batch)
        expected = problem.minimized(problem.totals(outputs, batch), ())
        assert float(losses.mean()) == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_array_equal(losses, 0)
