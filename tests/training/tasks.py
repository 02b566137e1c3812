"""Small tasks that train in a moment, shared by the tests of training."""

import functools
from dataclasses import replace

import equinox as eqx
import jax
import numpy as np

from widebasin import sam
from widebasin.data import SplitSizes, digit_images, digits, teacher_regression
from widebasin.models import MLP, BatchNormalization, ResNet
from widebasin.training import CLASSIFICATION, REGRESSION, Point, Program, Recipe, Supervised

DIGITS = Supervised(
    build=lambda key: MLP((64, 12, 10), key=key),
    dataset=digits(),
    sizes=SplitSizes(train=300, valid=100, test=200),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=4, batch_size=50, learning_rate=0.1, weight_decay=1e-4),
)
REGRESSING = Supervised(
    build=lambda key: MLP((98, 8, 1), key=key),
    dataset=teacher_regression(),
    sizes=SplitSizes(train=300, valid=100, test=200),
    objective=REGRESSION,
    recipe=Recipe(epochs=3, batch_size=50, learning_rate=0.01),
)


class SmallConvolution(eqx.Module):
    """A convolutional network on the 8x8 digits."""

    convolution: eqx.nn.Conv2d
    linear: eqx.nn.Linear

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.convolution = eqx.nn.Conv2d(1, 4, 3, key=first)
        self.linear = eqx.nn.Linear(4 * 36, 10, key=second)

    def __call__(self, x):
        return self.linear(jax.nn.relu(self.convolution(x.reshape(1, 8, 8))).ravel())


class Normalized(eqx.Module):
    """A network of one hidden layer with batch normalization."""

    first: eqx.nn.Linear
    normalization: BatchNormalization
    last: eqx.nn.Linear

    def __init__(self, key):
        first, last = jax.random.split(key)
        self.first = eqx.nn.Linear(64, 12, key=first)
        self.normalization = BatchNormalization(12)
        self.last = eqx.nn.Linear(12, 10, key=last)

    def __call__(self, x, state):
        x, state = self.normalization(self.first(x), state)
        return self.last(jax.nn.relu(x)), state


# Few examples: convolutions in a compiled loop are slow.
CONVOLUTIONAL = replace(DIGITS, build=SmallConvolution, sizes=SplitSizes(train=100, valid=20, test=20))
NORMALIZED = replace(DIGITS, build=Normalized)
DENSE = {"sparsity": 0.0, "pruner": "none", "output_scale": 1.0}


def point(rho=0.0, seed=0, **others):
    """A network with the recipe of ``DIGITS`` where nothing else is said."""
    usual = {"label_noise": 0.0, "weight_decay": 1e-4, "learning_rate": 0.1}
    return Point.of(seed, **(usual | DENSE | {"rho": rho} | others))


@functools.lru_cache(maxsize=16)
def program_of(problem, method, plan):
    """The program of a problem, a method and a plan: one for all who ask, so that it compiles once."""
    return Program(problem, sam.METHODS[method].with_radius, plan)


def trained(problem, method, points, plan, epochs=2):
    """State and metrics after a few epochs."""
    program = program_of(problem, method, plan)
    state, examples, hyperparameters = program.start(points)
    metrics = {}
    for epoch in range(epochs):
        state, metrics = program.epoch(state, examples, hyperparameters, last=epoch == epochs - 1)
    return state, metrics


def leaves(state):
    """The parameters, array by array, with the leading axis over networks."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]


# For runs in processes of their own.
FEW = SplitSizes(train=50, valid=30, test=30)


def residual(recipe):
    """A small residual network with batch normalization."""
    return Supervised(
        build=lambda key: ResNet.cifar(2, channels=1, stages=(1,), key=key),
        dataset=digit_images(),
        sizes=FEW,
        objective=CLASSIFICATION,
        recipe=recipe,
    )
