"""A user's own arrays as a workload, ``--workload FILE.npz``, or a known data set, ``cifar100:resnet18``.

``FILE.npz:MODEL`` uses a model of ``ARCHITECTURES``; by default, images (height, width, channels) get a residual
network and everything else an MLP. The file has the format of ``widebasin.data.arrays``. If the type of its targets
does not determine the task, add it: ``FILE.npz:classification`` or ``FILE.npz:regression``, also after a model:
``FILE.npz:mlp:regression``. A known data set (``widebasin data list``) needs a model.

Examples are split by seed: 80% training, 10% validation and 10% test; with an official test set, 90% training and 10%
validation. Recipe and radii are a first guess, to be changed by flags; CIFAR is cropped and flipped.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from widebasin.data import DATASETS, DataError, Dataset, DatasetSource, Normalization, SplitSizes, arrays, crop_and_flip
from widebasin.data.arrays import TASKS
from widebasin.models import MLP, VGG11, ResNet, ViT
from widebasin.training import CLASSIFICATION, REGRESSION, Recipe
from widebasin.workloads.workload import SupervisedWorkload, say_if_few

ENDING = ".npz"
IMAGE_DIMENSIONS = 3
# Data sets of photographs, which are customarily cropped and flipped.
CROPPED = ("cifar10", "cifar100")


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
    """Whether a workload's name is a file of arrays, or a data set with a model."""
    path, _, chosen = name.partition(ENDING)
    return _source(name) is not None or (bool(path) and name != path and (not chosen or chosen.startswith(":")))


def _source(name: str) -> DatasetSource | None:
    """The data set of images of a name such as ``cifar100:resnet18``."""
    data, colon, _ = name.partition(":")
    source = DATASETS.get(data) if colon else None
    return source if source is not None and source.images else None


@functools.lru_cache(maxsize=8)
def arrays_workload(name: str) -> SupervisedWorkload:
    """The workload for a file of arrays, or for a data set with a model.

    Raises:
        DataError: if the file cannot be read, or the data set cannot be found.
        ValueError: if the model is unknown or does not fit the examples, or there are too few examples.
    """
    refuse_other_encodings(name)
    source = _source(name)
    path, separator, chosen = name.partition(ENDING if source is None else ":")
    words = chosen.split(":")[1:] if source is None else chosen.split(":")
    task = words.pop() if source is None and words and words[-1] in TASKS else None
    if len(words) > 1 or not all(word in ARCHITECTURES for word in words):
        tasks = "" if source is not None else f", then one of {', '.join(TASKS)} or nothing"
        known = f"one of {', '.join(ARCHITECTURES)}{tasks}"
        raise ValueError(f"the model after {separator} must be {known}, got {chosen.removeprefix(':')!r}")
    if source is None:
        refuse_absent(path + ENDING)
    read = arrays(path + ENDING, task) if source is None else source.load()
    dataset = _with_flat_targets(_standardized(read) if source is None else read)
    if dataset.files is not None:
        raise ValueError(f"the photographs of {path} do not fit in memory; use {path}-resnet50")
    shape = dataset.inputs.shape[1:]
    model = words[0] if words else ("resnet18" if len(shape) == IMAGE_DIMENSIONS else "mlp")
    if model != "mlp" and len(shape) != IMAGE_DIMENSIONS:
        raise ValueError(f"{model} needs images (height, width, channels), but inputs have shape {shape}; use mlp")
    if model in ("vgg11", "vit") and shape[0] != shape[1]:
        raise ValueError(f"{model} needs square images, but inputs have shape {shape}; use resnet18 or mlp")
    taken = f"regression {_unit(read)}" if dataset.num_classes is None else f"{dataset.num_classes} classes"
    augment = crop_and_flip if source is not None and source.name in CROPPED else None
    return first_try(name, dataset, model, f"{dataset.name}, {model}, {taken}", augment)


def refuse_other_encodings(name: str) -> None:
    """Raises ``ValueError`` if the name of a file cannot be recorded."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError("its name is not UTF-8 and cannot be kept with the results; rename the file") from error


def refuse_absent(path: str) -> None:
    """Raises ``ValueError`` if the file does not exist."""
    if not Path(path).exists():
        raise ValueError("there is no such file")


def first_try(
    name: str,
    dataset: Dataset,
    model: str,
    description: str,
    augment: Callable[[Any, Any], Any] | None = None,
) -> SupervisedWorkload:
    """The workload for a data set of which only the arrays are known, with a recipe as a first guess.

    Raises:
        DataError: if all targets are equal.
        ValueError: if there are too few examples.
    """
    if (dataset.targets == dataset.targets[:1]).all():
        which = "equal" if dataset.num_classes is None else f"{dataset.targets[0]}"  # numbers are standardized
        raise DataError(f"{name}: all targets are {which}; there is nothing to learn")
    shape = dataset.inputs.shape[1:]
    build, widths = ARCHITECTURES[model]
    outputs = dataset.num_classes or dataset.targets.shape[1]
    sizes = _sizes(dataset)
    return SupervisedWorkload(
        name=name,
        model=model,
        description=description,
        load=lambda: dataset,
        build=lambda width, key: build(shape, outputs, width, key),
        sizes=sizes,
        objective=REGRESSION if dataset.num_classes is None else CLASSIFICATION,
        recipe=Recipe(
            epochs=60,
            batch_size=min(128, sizes.train),
            learning_rate=0.01 if dataset.num_classes is None else 0.1,
            weight_decay=5e-4,
            warmup_steps=100,
            clip=1.0,
        ),
        widths=widths,
        rhos=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
        augment=augment,
    )


def _standardized(dataset: Dataset) -> Dataset:
    """Standardizes inputs and regression targets: minus their mean, divided by their standard deviation.

    Per feature, or per channel for images; statistics over all examples except an official test set.
    """
    pool = len(dataset) - dataset.fixed_test
    inputs, targets = dataset.inputs, dataset.targets
    images = inputs.ndim > IMAGE_DIMENSIONS
    if inputs.dtype == np.uint8:
        mean, deviation = (one.ravel() for one in _moments(inputs[:pool], images, 255))
        dataset = replace(dataset, normalization=Normalization(tuple(mean.tolist()), tuple(deviation.tolist())))
    else:
        dataset = replace(dataset, inputs=_scaled(inputs, *_moments(inputs[:pool], images)))
    if dataset.num_classes is None:
        dataset = replace(dataset, targets=_scaled(targets, *_moments(targets[:pool], False)))
    return dataset


def _unit(dataset: Dataset) -> str:
    """The unit of standardized targets, in words."""
    deviations = _moments(dataset.targets[: len(dataset) - dataset.fixed_test], False)[1].ravel()
    return "in units of " + (
        f"the target's standard deviation, {deviations[0]:.4g}"
        if deviations.size == 1
        else "the standard deviation of each target"
    )


def _moments(values: np.ndarray, images: bool, scale: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of values divided by the scale; the deviation is 1 for constant values."""
    axes = tuple(range(values.ndim - 1)) if images else 0
    mean, deviation = values.mean(axes, np.float64) / scale, values.std(axes, np.float64) / scale
    return mean, np.where(deviation > 0, deviation, 1.0)


def _scaled(values: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return ((values - mean) / deviation).astype(np.float32)


def _with_flat_targets(dataset: Dataset) -> Dataset:
    """Flattens the targets of each example to one axis, like the models' outputs."""
    if dataset.targets.ndim == 1:
        return dataset
    return replace(dataset, targets=dataset.targets.reshape(len(dataset), -1))


def _sizes(dataset: Dataset) -> SplitSizes:
    pool = len(dataset) - dataset.fixed_test
    fewest = 2 if dataset.fixed_test else 3
    if pool < fewest:
        raise ValueError(f"{pool} examples are too few for training, validation and test; give at least {fewest}")
    valid = max(1, round(0.1 * pool))
    test = dataset.fixed_test or valid
    sizes = SplitSizes(pool - valid - (0 if dataset.fixed_test else test), valid, test)
    say_if_few(dataset, sizes)
    return sizes
