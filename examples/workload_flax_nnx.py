"""A workload in Flax NNX: a perceptron with batch normalization and dropout on the handwritten digits.

``models.from_nnx`` splits the module into parameters and the rest and puts it together again in every pass. Both passes
of SAM drop the same units, and the statistics come from the clean one.

Run: widebasin study overparam --workload examples/workload_flax_nnx.py (needs flax)
"""

import jax
from flax import nnx

from widebasin.data import SplitSizes, digits
from widebasin.models import from_nnx
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads import SupervisedWorkload


class Network(nnx.Module):
    """64 - h - h - 10."""

    def __init__(self, width, rngs):
        self.first = nnx.Linear(64, width, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.last = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, images):
        """The outputs for a batch."""
        hidden = jax.nn.relu(self.norm(self.first(images)))
        return self.last(self.dropout(jax.nn.relu(self.second(hidden))))


def build(width, key):
    return from_nnx(Network(width, nnx.Rngs(key)))


WORKLOAD = SupervisedWorkload(
    name="digits-nnx",
    model="perceptron 64-h-h-10 with batch normalization and dropout",
    description="handwritten digits, perceptron in Flax NNX",
    load=digits,
    build=build,
    sizes=SplitSizes(train=1_000, valid=300, test=497),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=40, batch_size=100, learning_rate=0.1, weight_decay=1e-4),
    widths=(8, 32, 128),
    rhos=(0.02, 0.1, 0.5),
    label_noise=0.3,
)
