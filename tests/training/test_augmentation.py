"""Examples changed at random before every step."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from training.tasks import DIGITS, leaves, point, program_of, trained

from widebasin.statistics import LOSS, Metric
from widebasin.training import Objective, Plan


class Mean(eqx.Module):
    """One parameter times the mean of the input: at 1, what a metric sees is what was put in."""

    factor: Array

    def __init__(self, key):
        del key
        self.factor = jnp.ones(1)

    def __call__(self, x):
        return self.factor * x.mean()


# Every example is replaced by a number drawn for it; losses and metrics tell which.
SEEN = replace(
    DIGITS,
    build=Mean,
    objective=Objective(
        lambda outputs, label: outputs[0] ** 3,
        {
            Metric("seen", True): lambda outputs, label: outputs[0],
            Metric("square", True): lambda outputs, label: outputs[0] ** 2,
        },
        judge=LOSS,
    ),
    augment=lambda key, image: jnp.full_like(image, jax.random.uniform(key)),
)
STILL = [
    point(rho=rho, seed=seed, weight_decay=0.0, learning_rate=0.0, label_noise=noise)
    for rho, seed, noise in ((0.0, 0, 0.0), (0.3, 0, 0.2), (0.0, 1, 0.0))
]
PLAN = Plan(len(STILL), "scan", "cpu")


def seen(method, loop="scan", epochs=2):
    """Mean and mean square of what was trained on in every epoch, one row per network."""
    program = program_of(SEEN, method, replace(PLAN, loop=loop))
    state, examples, hyperparameters = program.start(STILL)
    rows = []
    for _ in range(epochs):
        state, metrics = program.epoch(state, examples, hyperparameters, last=True)
        rows.append((metrics["train_seen"], metrics["train_square"]))
        # What is measured at the end is not augmented.
        images = SEEN.dataset.inputs[np.asarray(examples.test)]
        np.testing.assert_allclose(metrics["test_seen"], images.mean((1, 2)), rtol=1e-5)
        images = SEEN.dataset.inputs[np.asarray(examples.train)]
        np.testing.assert_allclose(metrics["final_train_seen"], images.mean((1, 2)), rtol=1e-5)
    return np.asarray(rows).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def by_sgd():
    return seen("sgd")


@pytest.mark.slow
def test_every_example_of_every_step_and_epoch_and_seed_is_changed_anew(by_sgd):
    """300 uniform numbers: mean 1/2 and variance 1/12, to four standard errors; half of it were they shared."""
    mean, square = by_sgd[..., 0], by_sgd[..., 1]
    np.testing.assert_allclose(mean, 0.5, atol=4 * np.sqrt(1 / 12 / 300))
    np.testing.assert_allclose(square - mean**2, 1 / 12, atol=4 * np.sqrt(1 / 180 / 300))
    assert np.all(mean[:, 0] != mean[:, 1])
    assert np.all(mean[2] != mean[0])


@pytest.mark.slow
@pytest.mark.parametrize(("method", "loop"), [("sam", "scan"), ("looksam", "scan"), ("sam", "step")])
def test_all_methods_and_radii_of_one_seed_see_the_same_images(method, loop, by_sgd):
    np.testing.assert_allclose(by_sgd[1], by_sgd[0], rtol=0, atol=1e-7)
    np.testing.assert_allclose(seen(method, loop), by_sgd, rtol=0, atol=1e-7)


@pytest.mark.slow
def test_both_passes_of_sam_see_the_same_images():
    """With noise far stronger than the images, the ascent of another draw would not be SAM's."""
    noisy = replace(DIGITS, augment=lambda key, image: image + 3 * jax.random.normal(key, image.shape))
    plan = Plan(1, "scan", "cpu")
    sgd, _ = trained(noisy, "sgd", [point()], plan)
    at_zero, _ = trained(noisy, "sam", [point()], plan)
    plain, _ = trained(DIGITS, "sgd", [point()], plan)
    for one, other, without in zip(leaves(sgd), leaves(at_zero), leaves(plain), strict=True):
        np.testing.assert_array_equal(one, other)
        assert not np.array_equal(one, without)
