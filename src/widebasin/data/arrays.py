"""A user's own arrays."""

from pathlib import Path

import numpy as np

from widebasin.data.dataset import Dataset, Normalization
from widebasin.data.errors import DataError
from widebasin.data.npz import read_npz

KEYS = ("inputs", "targets", "test_inputs", "test_targets", "num_classes")


def arrays(path: Path | str) -> Dataset:
    """The data set in an npz file, named like the file.

    Arrays of the file:
        inputs: images as bytes ``[examples, height, width]`` or ``[examples, height, width, channels]``, which a
            network sees as pixel / 255; or floats ``[examples, ...]``, which it sees as they are, in float32.
        targets: integer labels ``[examples]``, 0 to k - 1, to classify; or floats ``[examples]`` or ``[examples, ...]``
            to regress on.
        test_inputs, test_targets: the test set (optional; without it, one is drawn by seed).
        num_classes: number of classes, if not every class occurs (optional).

    Raises:
        DataError: if the file cannot be read, or an array is missing, unknown, or not as above.
    """
    path = Path(path)
    given = read_npz(path)
    _check_names(path, given)
    parts = ["", "test_"] if "test_inputs" in given else [""]
    inputs = [_inputs(path, f"{part}inputs", given[f"{part}inputs"]) for part in parts]
    targets = [_targets(path, f"{part}targets", given[f"{part}targets"]) for part in parts]
    for part, some, wanted in zip(parts, inputs, targets, strict=True):
        if len(some) != len(wanted):
            raise DataError(
                f"{path}: {part}inputs has {len(some):,} examples and {part}targets {len(wanted):,}; give as many"
            )
    for name, (first, *rest) in (("inputs", inputs), ("targets", targets)):
        for other in rest:
            if (other.dtype.kind, other.shape[1:]) != (first.dtype.kind, first.shape[1:]):
                raise DataError(
                    f"{path}: examples of {name} are {first.dtype} of shape {first.shape[1:]}, those of test_{name} "
                    f"{other.dtype} of shape {other.shape[1:]}; they must be alike"
                )
    return Dataset(
        name=path.stem,
        inputs=np.concatenate(inputs),
        targets=np.concatenate(targets),
        num_classes=_num_classes(path, targets, given.get("num_classes")),
        fixed_test=len(inputs[1]) if len(inputs) > 1 else 0,
        normalization=Normalization() if inputs[0].dtype == np.uint8 else None,
    )


def _check_names(path: Path, given: dict[str, np.ndarray]) -> None:
    missing = [name for name in KEYS[:2] if name not in given]
    missing += [b for a, b in (KEYS[2:4], KEYS[3:1:-1]) if a in given and b not in given]
    if missing:
        raise DataError(f"{path}: {' and '.join(missing)} missing; there is {', '.join(given) or 'nothing'}")
    unknown = [name for name in given if name not in KEYS]
    if unknown:
        raise DataError(f"{path}: unknown array {', '.join(unknown)}; arrays are named {', '.join(KEYS)}")


def _inputs(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if values.ndim < 2 or 0 in values.shape:
        raise DataError(f"{path}: {name} has shape {values.shape}; examples come first, then at least one more axis")
    if values.dtype != np.uint8:
        return _floats(path, name, values, "images as uint8 or floats")
    if values.ndim == 4 and values.shape[1] in (1, 3) and values.shape[3] not in (1, 3):
        raise DataError(
            f"{path}: {name} has shape {values.shape}: channels come last; use numpy.moveaxis({name}, 1, -1)"
        )
    return values[..., None] if values.ndim == 3 else values


def _targets(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iu":
        if values.ndim == 0:
            raise DataError(f"{path}: {name} is one number; one target per example is needed")
        floats = _floats(path, name, values, "integer labels or floats")
        return floats[:, None] if floats.ndim == 1 else floats
    if values.ndim != 1:
        raise DataError(f"{path}: {name} has shape {values.shape}; labels have one axis: use {name}.argmax or .ravel()")
    if values.max(initial=0) > np.iinfo(np.int32).max:
        raise DataError(f"{path}: label {values.max()} in {name} is too large; labels are 0 to k - 1")
    return values.astype(np.int32)


def _floats(path: Path, name: str, values: np.ndarray, needed: str) -> np.ndarray:
    if values.dtype.kind != "f":
        raise DataError(f"{path}: {name} are {values.dtype}; {needed} are needed: use astype")
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(floats).reshape(len(floats), -1).all(1))
    if wrong.size:
        raise DataError(
            f"{path}: {name} of example {wrong[0]} (and {wrong.size - 1:,} others) hold NaN, or are infinite in float32"
        )
    return floats


def _num_classes(path: Path, targets: list[np.ndarray], given: np.ndarray | None) -> int | None:
    labels = np.concatenate([part.ravel() for part in targets])
    if labels.dtype.kind == "f":
        if given is not None:
            raise DataError(f"{path}: num_classes is given and targets are floats; labels must be integers")
        return None
    if given is not None and (given.shape != () or given.dtype.kind not in "iu" or given < 1):
        raise DataError(f"{path}: num_classes must be one positive integer")
    there = np.unique(labels)
    classes = len(there) if given is None else int(given)
    if there[0] < 0 or there[-1] >= classes:
        raise DataError(
            f"{path}: labels are {len(there)} numbers from {there[0]} to {there[-1]}, and must be 0 to k - 1; use "
            "numpy.unique(targets, return_inverse=True)" + ("" if given is None else f" or num_classes > {there[-1]}")
        )
    return classes
