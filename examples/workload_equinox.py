"""A workload in Equinox with an axis of its own: the rate of dropout, on scikit-learn's wines.

An Equinox module of one example goes in as it is. What is in ``given`` it is called with by name, and a grid may vary:

Run: widebasin sweep --workload examples/workload_equinox.py --dropout 0 0.3 --rhos 0.05 0.2
"""

import equinox as eqx
import jax
import numpy as np
from sklearn.datasets import load_wine

from widebasin.axis import Axis
from widebasin.data import Dataset, SplitSizes
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads import SupervisedWorkload


def load():
    """178 wines of three growers, 13 measurements each."""
    inputs, labels = load_wine(return_X_y=True)
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    return Dataset("wines", inputs.astype(np.float32), labels.astype(np.int32), num_classes=3)


class Network(eqx.Module):
    """13 - h - 3; a module that takes a key gets one in training, the same in both passes of SAM."""

    first: eqx.nn.Linear
    last: eqx.nn.Linear

    def __init__(self, width, key):
        first, last = jax.random.split(key)
        self.first = eqx.nn.Linear(13, width, key=first)
        self.last = eqx.nn.Linear(width, 3, key=last)

    def __call__(self, wine, *, dropout, key=None):
        """The outputs for one example."""
        hidden = jax.nn.relu(self.first(wine))
        if key is not None:
            hidden *= jax.random.bernoulli(key, 1 - dropout, hidden.shape) / (1 - dropout)
        return self.last(hidden)


WORKLOAD = SupervisedWorkload(
    name="wines-equinox",
    model="perceptron 13-h-3",
    description="wines, perceptron in Equinox with dropout",
    load=load,
    build=Network,
    sizes=SplitSizes(train=100, valid=38, test=40),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=60, batch_size=20, learning_rate=0.05),
    widths=(4, 16, 64),
    rhos=(0.02, 0.1, 0.5),
    label_noise=0.2,
    axes=(
        Axis(
            "dropout", "dropout", float, "in [0, 1)", lambda rate: 0 <= rate < 1, (0.2,), help="Share of units dropped."
        ),
    ),
    given=("dropout",),
)
