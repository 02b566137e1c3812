"""A workload of plain functions: parameters are a dictionary, the network is a function. Regression, no library.

Run: widebasin study overparam --workload examples/workload_plain.py
"""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_diabetes

from widebasin.data import Dataset, SplitSizes
from widebasin.models import Applied
from widebasin.training import REGRESSION, Recipe
from widebasin.workloads import SupervisedWorkload


def load():
    """442 people, 10 measurements each, and how their diabetes progressed; all with mean 0 and deviation 1."""
    inputs, targets = (values.reshape(442, -1) for values in load_diabetes(return_X_y=True))
    inputs, targets = ((values - values.mean(0)) / values.std(0) for values in (inputs, targets))
    return Dataset("diabetes", inputs.astype(np.float32), targets.astype(np.float32), num_classes=None)


def apply(params, inputs):
    """The outputs for a batch."""
    hidden = jnp.tanh(inputs @ params["first"] + params["offsets"])
    return hidden @ params["last"]


def build(width, key):
    first, last = jax.random.split(key)
    params = {
        "first": jax.random.normal(first, (10, width)) / jnp.sqrt(10),
        "offsets": jnp.zeros(width),
        "last": jax.random.normal(last, (width, 1)) / jnp.sqrt(width),
    }
    return Applied(params, apply)


WORKLOAD = SupervisedWorkload(
    name="diabetes-plain",
    model="perceptron 10-h-1",
    description="progress of diabetes, perceptron of plain functions",
    load=load,
    build=build,
    sizes=SplitSizes(train=270, valid=80, test=92),
    objective=REGRESSION,
    recipe=Recipe(epochs=100, batch_size=30, learning_rate=0.01),
    widths=(4, 16, 64, 256),
    rhos=(0.02, 0.05, 0.1, 0.2),
)
