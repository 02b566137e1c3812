"""A workload in Flax linen: a convolutional network with batch normalization on the handwritten digits, 8x8.

The file says what a study needs: data, a model of every width, a recipe. ``models.from_linen`` makes the module a
model: its ``batch_stats`` come from SAM's clean pass, and by ``train`` it is told whether it trains.

Run: widebasin study overparam --workload examples/workload_flax_linen.py (needs flax)
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from widebasin.data import SplitSizes, digit_images
from widebasin.models import from_linen
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads import SupervisedWorkload


class Network(nn.Module):
    """Two convolutions of ``width`` and twice as many channels, each normalized over the batch."""

    width: int

    @nn.compact
    def __call__(self, images, train):
        """The outputs for a batch."""
        for channels in (self.width, 2 * self.width):
            images = nn.Conv(channels, (3, 3), use_bias=False)(images)
            images = nn.BatchNorm(use_running_average=not train, momentum=0.9)(images)
            images = nn.avg_pool(jax.nn.relu(images), (2, 2), strides=(2, 2))
        return nn.Dense(10)(images.reshape(len(images), -1))


def build(width, key):
    return from_linen(Network(width), key, jnp.zeros((1, 8, 8, 1)))


WORKLOAD = SupervisedWorkload(
    name="digits-linen",
    model="convolutions of h and 2h channels",
    description="handwritten digits, two convolutions in Flax linen",
    load=digit_images,
    build=build,
    sizes=SplitSizes(train=1_000, valid=300, test=497),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=20, batch_size=100, learning_rate=0.1, weight_decay=5e-4),
    widths=(2, 4, 8, 16),
    rhos=(0.02, 0.1, 0.5),
    label_noise=0.3,
)
