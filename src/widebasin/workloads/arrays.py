"""A user's own arrays as a workload: ``--workload FILE.npz``, or ``FILE.npz:MODEL`` with a model of ``ARCHITECTURES``.

The file is one of ``widebasin.data.arrays``. Where the type of its targets does not say what is meant,
``FILE.npz:classification`` or ``FILE.npz:regression`` does, also with a model: ``FILE.npz:mlp:regression``. Without a
model, images (height, width, channels) get a residual network and everything else an MLP. Of the examples 80% train,
10% validate and 10% test, drawn by seed; with an official test set in the file 90% train and 10% validate. Recipe and
radii are those of a first try, to be changed by flags.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from widebasin.data import Dataset, SplitSizes, arrays
from widebasin.data.arrays import TASKS
from widebasin.models import MLP, VGG11, ResNet, ViT
from widebasin.training import CLASSIFICATION, REGRESSION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

ENDING = ".npz"
IMAGE_DIMENSIONS = 3


def _mlp(shape: tuple[int, ...], outputs: int, width: int, key: Any) -> MLP:
    return MLP.ladder(math.prod(shape), outputs, width, key=key)


def _resnet18(shape: tuple[int, ...], outputs: int, width: int, key: Any) -> ResNet:
    return ResNet.cifar(width, outputs, shape[-1], key=key)


def _vgg11(shape: tuple[int, ...], outputs: int, width: int, key: Any) -> VGG11:
    return VGG11(outputs, width, shape[-1], shape[0], key=key)


def _vit(shape: tuple[int, ...], outputs: int, width: int, key: Any) -> ViT:
    return ViT(width, outputs, shape[0], shape[-1], math.gcd(4, shape[0]), key=key)


# Name -> (builder, ladder of widths).
ARCHITECTURES: Mapping[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "mlp": (_mlp, (8, 16, 32, 64, 128)),
    "resnet18": (_resnet18, (4, 8, 16)),
    "vgg11": (_vgg11, (4, 8, 16)),
    "vit": (_vit, (16, 32, 64)),
}


def names_arrays(name: str) -> bool:
    """Whether a workload's name is that of a file of arrays, with or without a model and a task."""
    path, _, chosen = name.partition(ENDING)
    return bool(path) and name != path and (not chosen or chosen.startswith(":"))


@functools.lru_cache(maxsize=8)
def arrays_workload(name: str) -> SupervisedWorkload:
    """The workload of a file of arrays.

    Raises:
        DataError: if the file cannot be read.
        ValueError: if there is no such model, it does not take such examples, or they are too few.
    """
    path, _, chosen = name.partition(ENDING)
    words = chosen.split(":")[1:]
    task = words.pop() if words and words[-1] in TASKS else None
    model = words.pop() if words else ""
    if words or (model and model not in ARCHITECTURES):
        known = f"one of {', '.join(ARCHITECTURES)}, then one of {', '.join(TASKS)} or nothing"
        raise ValueError(f"the model after {ENDING}: must be {known}, got {chosen.removeprefix(':')!r}")
    dataset = _with_flat_targets(arrays(path + ENDING, task))
    shape = dataset.inputs.shape[1:]
    model = model or ("resnet18" if len(shape) == IMAGE_DIMENSIONS else "mlp")
    if model != "mlp" and len(shape) != IMAGE_DIMENSIONS:
        raise ValueError(f"{model} takes images (height, width, channels), the inputs have shape {shape}; take mlp")
    if model in ("vgg11", "vit") and shape[0] != shape[1]:
        raise ValueError(f"{model} takes square images, the inputs have shape {shape}; take resnet18 or mlp")
    build, widths = ARCHITECTURES[model]
    outputs = dataset.num_classes or dataset.targets.shape[1]
    taken = "regression" if dataset.num_classes is None else f"{dataset.num_classes} classes"
    sizes = _sizes(dataset)
    return SupervisedWorkload(
        name=name,
        model=model,
        description=f"{dataset.name}, {model}, {taken}",
        load=lambda: dataset,
        build=lambda width, key: build(shape, outputs, width, key),
        sizes=sizes,
        objective=REGRESSION if dataset.num_classes is None else CLASSIFICATION,
        recipe=Recipe(
            epochs=60,
            batch_size=min(128, sizes.train),
            learning_rate=0.01 if dataset.num_classes is None else 0.1,
            weight_decay=5e-4,
        ),
        widths=widths,
        rhos=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    )


def _with_flat_targets(dataset: Dataset) -> Dataset:
    """Targets with one axis per example, as the models' outputs have."""
    if dataset.targets.ndim == 1:
        return dataset
    return replace(dataset, targets=dataset.targets.reshape(len(dataset), -1))


def _sizes(dataset: Dataset) -> SplitSizes:
    pool = len(dataset) - dataset.fixed_test
    fewest = 2 if dataset.fixed_test else 3
    if pool < fewest:
        raise ValueError(f"{pool} examples are too few to train, validate and test on; give at least {fewest}")
    valid = max(1, round(0.1 * pool))
    test = dataset.fixed_test or valid
    return SplitSizes(pool - valid - (0 if dataset.fixed_test else test), valid, test)
