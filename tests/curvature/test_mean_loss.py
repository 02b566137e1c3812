import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature.problems import mean_loss

from widebasin import curvature


def total_loss(params, batch):
    return len(batch[1]) * mean_loss(params, batch)


def batch_normalized(params, batch):
    """Standardized over the examples, as batch norm in training mode."""
    outputs = jax.vmap(params)(batch[0])
    return jnp.mean(((outputs - outputs.mean(0)) / outputs.std(0)) ** 3)


@pytest.mark.slow
@pytest.mark.parametrize("loss_fn", [total_loss, batch_normalized])
@pytest.mark.parametrize("chunk_size", [None, 1])
def test_a_loss_that_is_no_mean_over_examples_is_refused(classifier, loss_fn, chunk_size):
    with pytest.raises(ValueError, match="loss_fn is not a mean over examples"):
        curvature.hessian(loss_fn, classifier.params, classifier.batch, chunk_size=chunk_size)


def test_the_values_and_the_remedy_are_named():
    """The sum of 1 to 5 is 15, the mean over the first two and the last three ``(2 * 3 + 3 * 12) / 5``."""
    with pytest.raises(ValueError, match=r"it is 15 on 5 of them, but 8\.4 as the mean .*inference mode"):
        curvature.top_eigenvalues(lambda w, batch: jnp.sum(w * batch), jnp.ones(()), jnp.arange(1.0, 6.0))


@pytest.mark.slow
def test_the_gauss_newton_matrix_of_a_sum_is_refused(classifier):
    with pytest.raises(ValueError, match=r"loss_of_outputs.* is not a mean over examples"):
        curvature.gauss_newton(
            lambda params, batch: jax.vmap(params)(batch[0]),
            lambda outputs, batch: jnp.sum(outputs**2),
            classifier.params,
            classifier.batch,
        )


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["worst_case_sharpness", "average_sharpness", "landscape", "by_layer"])
def test_every_measure_asks_for_a_mean(classifier, measure):
    options = {
        "worst_case_sharpness": {"rho": 0.1, "m": None},
        "average_sharpness": {"rho": 0.1, "key": jax.random.key(0)},
        "landscape": {"directions": [classifier.params]},
        "by_layer": {"key": jax.random.key(0)},
    }[measure]
    with pytest.raises(ValueError, match="not a mean over examples"):
        getattr(curvature, measure)(total_loss, classifier.params, classifier.batch, **options)


def test_rounding_errors_are_no_reason():
    """A loss that is nothing but rounding errors, as at the end of training, and one whose examples cancel."""
    inputs = jax.random.normal(jax.random.key(0), (301, 40), jnp.float32)
    w = jax.random.normal(jax.random.key(1), (40,), jnp.float32)
    targets = jnp.asarray(np.asarray(inputs, np.float64) @ np.asarray(w, np.float64), jnp.float32)

    def residuals(w, batch):
        return jnp.mean((batch[0] @ w - batch[1]) ** 2)

    assert 0 < residuals(w, (inputs, targets)) < jnp.finfo(jnp.float32).eps
    curvature.hessian(residuals, w, (inputs, targets))
    curvature.hessian(residuals, w, (inputs, targets), chunk_size=10)
    curvature.hessian(lambda w, batch: jnp.mean(batch[0] @ w), w, (inputs - inputs.mean(0), targets))


@pytest.mark.parametrize("chunk_size", [None, 16])
def test_a_sum_is_refused_where_it_is_almost_zero(chunk_size):
    """64 examples with residuals of 1e-5, and one that is fitted exactly: beside the minimum the loss tells."""
    inputs = jax.random.normal(jax.random.key(0), (64, 2), jnp.float32)
    for minimum, offset in (([1, 2], 1e-5), ([1, 2], 0), ([0, 0], 0)):
        w = jnp.array(minimum, jnp.float32)
        batch = (inputs, inputs @ w + jnp.float32(offset))
        curvature.hessian(lambda w, b: 0.5 * jnp.mean((b[0] @ w - b[1]) ** 2), w, batch, chunk_size=chunk_size)
        with pytest.raises(ValueError, match="not a mean over examples: with params moved by a tenth of their size"):
            curvature.hessian(lambda w, b: 0.5 * jnp.sum((b[0] @ w - b[1]) ** 2), w, batch, chunk_size=chunk_size)


def test_a_loss_that_is_finite_nowhere_else_is_taken():
    def loss(w, batch):
        return jnp.mean(batch) * jnp.sum(jnp.sqrt(1e-8 - w**2))

    curvature.hessian(loss, jnp.zeros(3, jnp.float32), jnp.ones(4, jnp.float32))


def test_one_example_and_traced_parameters_are_not_compared(classifier):
    first = jax.tree.map(lambda leaf: leaf[:1], classifier.batch)
    curvature.hessian(total_loss, classifier.params, first)
    vector = jnp.ones(len(classifier.hessian))
    product = jax.jit(lambda params: curvature.hessian(mean_loss, params, classifier.batch) @ vector)
    np.testing.assert_allclose(product(classifier.params), classifier.hessian @ vector, atol=1e-12)


def test_batch_norm_over_a_named_axis_is_refused_with_the_remedy(classifier):
    """``equinox.nn.BatchNorm`` in training mode, in the loss of one example: the axis exists in a batch only."""
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, "batch", mode="batch")

    def loss_of_one(params, example):
        return jnp.mean(norm(params(example[0]), state)[0] ** 2)

    with pytest.raises(ValueError, match=r"example_loss takes a mean over .* batch .*inference mode"):
        curvature.hessian_moments(loss_of_one, classifier.params, classifier.batch)
    with pytest.raises(ValueError, match=r"loss_fn takes a mean over .* batch .*inference mode"):
        curvature.hessian(
            lambda params, batch: jnp.mean(jax.vmap(lambda example: loss_of_one(params, example))(batch)),
            classifier.params,
            classifier.batch,
        )
    inference = eqx.nn.inference_mode(norm)

    def loss_at_running_statistics(params, example):
        return jnp.mean(inference(params(example[0]), state)[0] ** 2)

    curvature.moment_operator(loss_at_running_statistics, classifier.params, classifier.batch, 2)


def test_a_misspelt_name_in_the_loss_stays_a_name_error(classifier):
    with pytest.raises(NameError, match="misspelt"):
        curvature.hessian(lambda params, batch: misspelt, classifier.params, classifier.batch)


def test_an_example_loss_that_is_no_scalar_is_refused(classifier):
    with pytest.raises(ValueError, match=r"example_loss must be one scalar for one example, got shapes \[\(3,\)\]"):
        curvature.hessian_moments(lambda params, example: params(example[0]), classifier.params, classifier.batch)


def test_a_loss_that_is_not_finite_is_refused(classifier):
    with pytest.raises(ValueError, match="loss_fn is inf at these params"):
        curvature.hessian(
            lambda params, batch: mean_loss(params, batch) / jnp.zeros(()), classifier.params, classifier.batch
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measure", "options"),
    [
        (curvature.top_eigenvalues, {}),
        (curvature.trace, {"key": jax.random.key(0)}),
        (curvature.spectral_density, {"key": jax.random.key(0), "dimension": 3}),
    ],
)
def test_derivatives_that_are_not_finite_are_refused(measure, options):
    """``|w|^1.5`` at 0: the loss is 0, its second derivative infinite."""
    with pytest.raises(ValueError, match="products with the operator are not finite"):
        measure(nowhere_smooth, jnp.zeros(30), jnp.ones(3), **options)


def nowhere_smooth(w, batch):
    return jnp.sum((w**2) ** 0.75) * batch.mean()


def test_moments_of_derivatives_that_are_not_finite_are_refused():
    def loss(w, example):
        return jnp.sum((w**2) ** 0.75) * example

    with pytest.raises(ValueError, match="products with the operator are not finite"):
        curvature.constants(loss, [jnp.zeros(3)], jnp.ones(3))
