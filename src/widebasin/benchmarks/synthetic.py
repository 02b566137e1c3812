"""Generated data in the shape of real images: for speed measurements, the content does not matter."""

import numpy as np

from widebasin.data import Dataset, Normalization, SplitSizes
from widebasin.training import CLASSIFICATION, Recipe, Supervised
from widebasin.workloads import WORKLOADS, SupervisedWorkload

FEATURES, CLASSES = 784, 10


def mnist_shaped(examples: int, seed: int = 0) -> Dataset:
    """Uniform inputs in [0, 1] of shape ``(examples, 784)`` and labels of 10 classes from a random linear map."""
    generator = np.random.default_rng(seed)
    inputs = generator.random((examples, FEATURES), np.float32)
    scores = (inputs - 0.5) @ generator.standard_normal((FEATURES, CLASSES), np.float32)
    return Dataset("MNIST-shaped", inputs, scores.argmax(axis=1).astype(np.int32), CLASSES)


def random_images(examples: int, shape: tuple[int, int, int], classes: int, seed: int = 0) -> Dataset:
    """Uniform bytes of shape ``(examples, height, width, channels)``, used as pixel / 255, and uniform labels."""
    generator = np.random.default_rng(seed)
    return Dataset(
        "random images",
        generator.integers(0, 256, (examples, *shape), np.uint8),
        generator.integers(0, classes, examples, np.int32),
        classes,
        normalization=Normalization(),
    )


def on_random_images(
    workload: SupervisedWorkload,
    width: int,
    recipe: Recipe,
    sizes: SplitSizes,
    shape: tuple[int, int, int],
    classes: int,
) -> Supervised:
    """A workload's network and augmentation on generated images, with cross entropy."""
    return Supervised(
        build=lambda key: workload.build(width, key),
        dataset=random_images(sizes.train + sizes.valid + sizes.test, shape, classes),
        sizes=sizes,
        objective=CLASSIFICATION,
        recipe=recipe,
        augment=workload.augment,
    )


def supervised(name: str) -> SupervisedWorkload:
    """A supervised workload by its name."""
    workload = WORKLOADS[name]
    assert isinstance(workload, SupervisedWorkload)
    return workload
