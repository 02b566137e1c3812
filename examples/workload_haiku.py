"""A workload in Haiku: a perceptron with batch normalization and dropout on scikit-learn's breast cancer data.

``models.from_haiku`` takes what ``hk.transform_with_state`` gives, or ``hk.transform`` where there is no state.

Run: widebasin study overparam --workload examples/workload_haiku.py (needs dm-haiku)
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_breast_cancer

from widebasin.data import Dataset, SplitSizes
from widebasin.models import from_haiku
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads import SupervisedWorkload


def load():
    """569 tumours, 30 measurements each; benign or malignant."""
    inputs, labels = load_breast_cancer(return_X_y=True)
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    return Dataset("breast cancer", inputs.astype(np.float32), labels.astype(np.int32), num_classes=2)


def network(width):
    """A function of a batch, 30 - h - h - 2, transformed."""

    def apply(inputs, is_training):
        for _ in range(2):
            inputs = hk.Linear(width)(inputs)
            inputs = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(inputs, is_training)
            inputs = jax.nn.relu(inputs)
            if is_training:
                inputs = hk.dropout(hk.next_rng_key(), 0.1, inputs)
        return hk.Linear(2)(inputs)

    return hk.transform_with_state(apply)


def build(width, key):
    return from_haiku(network(width), key, jnp.zeros((1, 30)))


WORKLOAD = SupervisedWorkload(
    name="tumours-haiku",
    model="perceptron 30-h-h-2 with batch normalization and dropout",
    description="breast cancer, perceptron in Haiku",
    load=load,
    build=build,
    sizes=SplitSizes(train=350, valid=100, test=119),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=40, batch_size=50, learning_rate=0.05, weight_decay=1e-4),
    widths=(4, 16, 64),
    rhos=(0.02, 0.1, 0.5),
    label_noise=0.2,
)
