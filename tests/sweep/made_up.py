"""A workload with axes of its own: one that varies within a cell, one that splits cells."""

import dataclasses

import equinox as eqx
import jax

from widebasin.models import MLP
from widebasin.sweep.axes import Axis
from widebasin.training import Network
from widebasin.workloads import WORKLOADS, Settings
from widebasin.workloads.workload import Workload

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
SETTINGS = Settings()
NAME = "deep-line"


class DeepLine(Workload):
    """12 points on a line and a network of a depth that the grid varies."""

    axes = (DEPTH, DROPOUT)

    def _model(self, width, own, key):
        return MLP((1, *(width,) * dict(own).get("depth", 1), 1), key=key)

    def task(self, width, recipe, settings):
        deep = dataclasses.replace(self, build=lambda width, key: self._model(width, settings.own, key))
        return Workload.task(deep, width, recipe, settings)

    def num_params(self, width, sparsity=0.0, pruner="none", settings=SETTINGS):
        del sparsity, pruner
        return Network(lambda key: self._model(width, settings.own, key)).num_params


def deep_line():
    """The workload, to be added to ``WORKLOADS`` under its name."""
    line = WORKLOADS["line-mlp"]
    facts = {field.name: getattr(line, field.name) for field in dataclasses.fields(line)}
    return DeepLine(**facts | {"name": NAME, "widths": (2,), "recipe": dataclasses.replace(line.recipe, epochs=3)})


def hidden_layers(model):
    """How deep a model is."""
    return len([leaf for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array)) if leaf.ndim == 2]) - 1
