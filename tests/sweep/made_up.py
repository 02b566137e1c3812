"""A workload with axes of its own: one that varies within a cell, one that splits cells."""

import dataclasses

import equinox as eqx
import jax

from widebasin.axis import Axis
from widebasin.models import MLP
from widebasin.workloads import WORKLOADS

DEPTH = Axis(
    "depth",
    "depths",
    int,
    "a whole number of at least 1",
    lambda value: value >= 1,
    (1, 2),
    traced=False,
    help="Number of hidden layers.",
)
DROPOUT = Axis(
    "dropout",
    "dropout",
    float,
    "a share in [0, 1)",
    lambda value: 0 <= value < 1,
    (0.0,),
    percent=True,
    help="Share of units dropped.",
)
NAME = "deep-line"


class Scaled(eqx.Module):
    """A perceptron that is told how much is dropped, and makes up for it."""

    layers: MLP

    def __call__(self, x, *, dropout):
        return self.layers(x) * (1 - dropout)


def deep_line():
    """12 points on a line and a network of a depth that the grid varies, to be added to ``WORKLOADS`` by its name."""
    line = WORKLOADS["line-mlp"]
    return dataclasses.replace(
        line,
        name=NAME,
        widths=(2,),
        recipe=dataclasses.replace(line.recipe, epochs=3),
        build=lambda width, key, depth=1: Scaled(MLP((1, *(width,) * depth, 1), key=key)),
        axes=(DEPTH, DROPOUT),
        given=("dropout",),
    )


def hidden_layers(model):
    """How deep a model is."""
    return len([leaf for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array)) if leaf.ndim == 2]) - 1
