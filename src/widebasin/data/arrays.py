"""A user's own arrays as a data set."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from widebasin.data.dataset import Dataset, Normalization
from widebasin.data.errors import DataError
from widebasin.data.npz import read_npz
from widebasin.shown import shown

KEYS = ("inputs", "targets", "test_inputs", "test_targets", "num_classes")
CLASSIFICATION, REGRESSION = TASKS = ("classification", "regression")
# Fewer examples per class than this, and what is taken for classes may be numbers.
FEW = 10
# How many times as long as the other a side of an image is at most.
WIDEST = 8
# float32 has all whole numbers up to here.
LARGEST_LABEL = 1 << 24
# Rounding to float32 may change a value by so many standard deviations of its feature.
TOLERANCE = 0.1
TO_CLASSIFY, TO_REGRESS = (f"say FILE.npz:{task}, or arrays(path, task={task!r}) in Python" for task in TASKS)
LOGGER = logging.getLogger("widebasin")


def arrays(path: Path | str, task: str | None = None) -> Dataset:
    """The data set in an npz file, named after the file.

    Arrays of the file:

    * ``inputs``: images as bytes ``[examples, height, width]`` or ``[examples, height, width, channels]``, which a
      network sees as pixel / 255; or floats ``[examples, ...]``, which it sees unchanged, in float32.
    * ``targets``: one target per example ``[examples]``, or several numbers to regress on ``[examples, ...]``.
    * ``test_inputs``, ``test_targets``: the test set (optional; otherwise one is drawn by seed).
    * ``num_classes``: number of classes, if some classes do not occur (optional).

    Integer targets are classes 0 to k - 1, and so are texts, numbered in sorted order; float targets mean regression. A
    warning is logged if this may not be intended, or if no training example has one of the classes; label noise then
    gives training labels none of those beyond the last that is trained on. Reading takes at most six times the memory
    of the arrays.

    Args:
        path: the file.
        task: "classification" or "regression", if different from what the type of the targets implies.

    Raises:
        DataError: if the file cannot be read, or an array is missing, unknown, or not as above.
        ValueError: if the task is unknown.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    path = Path(path)
    given = read_npz(path, KEYS)
    _check_names(path, given)
    parts = ["", "test_"] if "test_inputs" in given else [""]
    inputs = [_inputs(path, f"{part}inputs", given[f"{part}inputs"]) for part in parts]
    targets, names = _typed_targets(path, task, {f"{part}targets": given[f"{part}targets"] for part in parts})
    for part, some, wanted in zip(parts, inputs, targets, strict=True):
        if len(some) != len(wanted):
            raise DataError(
                f"{path}: {part}inputs has {len(some):,} examples, but {part}targets has {len(wanted):,}; both need "
                "the same number"
            )
    for name, (first, *rest) in (("inputs", inputs), ("targets", targets)):
        for other in rest:
            if (other.dtype.kind, other.shape[1:]) != (first.dtype.kind, first.shape[1:]):
                raise DataError(
                    f"{path}: examples of {name} are {first.dtype} of shape {first.shape[1:]}, but test_{name} has "
                    f"{other.dtype} of shape {other.shape[1:]}; they must be the same"
                )
    num_classes = _num_classes(path, targets, given.get("num_classes"))
    untaught = _untaught(targets, num_classes)
    if untaught.size:
        which = _first([names[label] if label < len(names) else label for label in untaught[:6].tolist()])
        LOGGER.warning(shown(f"{path}: classes without a training example, which no network can learn: {which}"))
    if task is None:
        _say_what_may_not_be_meant(path, targets, num_classes, given["targets"].dtype)
    return Dataset(
        name=path.stem,
        inputs=np.concatenate(inputs),
        targets=np.concatenate(targets),
        num_classes=num_classes,
        fixed_test=len(inputs[1]) if len(inputs) > 1 else 0,
        normalization=Normalization() if inputs[0].dtype == np.uint8 else None,
        training_classes=int(targets[0].max()) + 1 if num_classes and num_classes - 1 in untaught else None,
    )


def _check_names(path: Path, given: dict[str, np.ndarray]) -> None:
    missing = [name for name in KEYS[:2] if name not in given]
    missing += [b for a, b in (KEYS[2:4], KEYS[3:1:-1]) if a in given and b not in given]
    if missing:
        raise DataError(f"{path}: {' and '.join(missing)} missing; found {', '.join(given) or 'nothing'}")


def _inputs(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if values.ndim < 2 or 0 in values.shape:
        raise DataError(f"{path}: {name} has shape {values.shape}; it needs an axis of examples and at least one more")
    first = values.ndim == 4 and values.shape[1] in (1, 3) and values.shape[3] not in (1, 3)
    # Of an image, one side is seldom many times the other: signals and features of a network have channels last.
    if first and values.shape[1] != values.shape[2] and max(values.shape[2:]) <= WIDEST * min(values.shape[2:]):
        raise DataError(
            f"{path}: {name} has shape {values.shape}: channels come last; use numpy.moveaxis({name}, 1, -1)"
        )
    if values.dtype != np.uint8:
        return _floats(path, name, values, "images as uint8 or floats")
    return values[..., None] if values.ndim == 3 else values


def _typed_targets(
    path: Path, task: str | None, given: dict[str, np.ndarray]
) -> tuple[list[np.ndarray], Sequence[str]]:
    """Labels in int32 or numbers in float32, for training and test; and the names of labels that are texts."""
    for name, values in given.items():
        if values.ndim == 0:
            raise DataError(f"{path}: {name} is one number; one target per example is needed")
        if 0 in values.shape:
            raise DataError(f"{path}: {name} has shape {values.shape}; one target per example is needed")
    if task != REGRESSION and all(values.dtype.kind in "US" and values.ndim == 1 for values in given.values()):
        names, numbers = np.unique(np.concatenate(list(given.values())), return_inverse=True)
        order = _first(names.tolist())
        LOGGER.warning(shown(f"{path}: targets are texts, used as {len(names)} classes in this order: {order}"))
        lengths = [len(values) for values in given.values()]
        return np.split(numbers.astype(np.int32), np.cumsum(lengths)[:-1]), names.tolist()
    return [_targets(path, name, values, task) for name, values in given.items()], ()


def _targets(path: Path, name: str, values: np.ndarray, task: str | None) -> np.ndarray:
    if task == REGRESSION and values.dtype.kind in "iu":
        values = values.astype(float)
    if values.dtype.kind not in "iu":
        floats = _floats(path, name, values, "integer labels or floats")
        if task == CLASSIFICATION:
            if floats.ndim != 1 or (floats != np.round(floats)).any() or np.abs(floats).max() > LARGEST_LABEL:
                raise DataError(f"{path}: {name} are not labels: whole numbers 0 to k - 1, one per example, are needed")
            return floats.astype(np.int32)
        return floats[:, None] if floats.ndim == 1 else floats
    if values.ndim != 1:
        raise DataError(f"{path}: {name} has shape {values.shape}; labels need one axis: use {name}.argmax or .ravel()")
    for label in (values.min(), values.max()):
        if not -LARGEST_LABEL <= label <= LARGEST_LABEL:
            raise DataError(f"{path}: label {label} in {name} is too large; labels are 0 to k - 1")
    return values.astype(np.int32)


def _floats(path: Path, name: str, values: np.ndarray, needed: str) -> np.ndarray:
    if values.dtype.kind != "f":
        raise DataError(f"{path}: {name} are {values.dtype}; {needed} are needed: use astype")
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(floats).reshape(len(floats), -1).all(1))
    if wrong.size:
        raise DataError(
            f"{path}: {name} of example {wrong[0]} (and {wrong.size - 1:,} others) have NaN or are infinite in float32"
        )
    if values.dtype.itemsize > floats.dtype.itemsize:
        _refuse_merged(path, name, values.reshape(len(values), -1), floats.reshape(len(values), -1))
    return floats


def _refuse_merged(path: Path, name: str, values: np.ndarray, floats: np.ndarray) -> None:
    """Raises ``DataError`` if float32 does not tell apart what is different in float64."""
    lost = np.abs(values - floats).max(0) > TOLERANCE * values.std(0)
    lost &= values.max(0) > values.min(0)
    if lost.any():
        low, high = values[:, lost.argmax()].min(), values[:, lost.argmax()].max()
        raise DataError(
            f"{path}: {name} from {low:.10g} to {high:.10g} lose their differences in float32; subtract the mean and "
            "divide by the standard deviation before they are saved"
        )


def _num_classes(path: Path, targets: list[np.ndarray], given: np.ndarray | None) -> int | None:
    labels = np.concatenate([part.ravel() for part in targets])
    if labels.dtype.kind == "f":
        if given is not None:
            raise DataError(f"{path}: num_classes is given, but targets are floats; labels must be integers")
        return None
    if given is not None and (given.shape != () or given.dtype.kind not in "iu" or not 1 <= given <= LARGEST_LABEL):
        raise DataError(f"{path}: num_classes must be one positive integer, of at most {LARGEST_LABEL:,}")
    there = np.unique(labels)
    classes = len(there) if given is None else int(given)
    if there[0] < 0 or there[-1] >= classes:
        raise DataError(
            f"{path}: targets are integers, used as classes, but these are {len(there)} numbers from {there[0]} to "
            f"{there[-1]}, and 0 to k - 1 are needed; use numpy.unique(targets, return_inverse=True)"
            + ("" if given is None else f" or num_classes > {there[-1]}")
            + f"; or, to regress on them, {TO_REGRESS}"
        )
    return classes


def _untaught(targets: list[np.ndarray], classes: int | None) -> np.ndarray:
    """The classes that no training example has, where the file has its own test set."""
    if classes is None or len(targets) == 1:
        return np.zeros(0, int)
    return np.setdiff1d(np.arange(classes), targets[0])


def _first(names: Sequence[Any], most: int = 5) -> str:
    return ", ".join(map(repr, names[:most])) + (", ..." if len(names) > most else "")


def _say_what_may_not_be_meant(path: Path, targets: list[np.ndarray], classes: int | None, dtype: np.dtype) -> None:
    """Warns if the type of the targets may mislead: whole numbers as floats, or classes with few examples."""
    taken = ""
    if classes is None and all(part.shape[1:] == (1,) and (part == np.round(part)).all() for part in targets):
        highest = max(part.max() for part in targets)
        taken = f"floats, all whole numbers up to {highest:g}: used for regression; if they are classes, "
        taken += TO_CLASSIFY
    elif classes is not None and dtype.kind in "iu" and classes > 2 and sum(map(len, targets)) < FEW * classes:
        taken = (
            f"integers: used as {classes} classes with fewer than {FEW} examples each; if they are numbers to regress "
        )
        taken += f"on, {TO_REGRESS}"
    if taken:
        LOGGER.warning(shown(f"{path}: targets are {taken}"))
