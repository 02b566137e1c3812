"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32 x 32 pixels, from any form that they are handed on in."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from widebasin.data.archives import read_files
from widebasin.data.arrays import arrays
from widebasin.data.class_folders import PARTS, fingerprint, read_class_folders
from widebasin.data.dataset import Dataset, Normalization
from widebasin.data.errors import DataError
from widebasin.data.npz import cached_arrays
from widebasin.data.places import Found, folders_of, not_here
from widebasin.data.unpickling import unpickle_batch

SIDE, CHANNELS = 32, 3
PIXELS = CHANNELS * SIDE * SIDE
ARCHIVES = (".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".tgz")
PYTHON, BINARY, ARRAYS, IMAGES = "python batches", "binary batches", "arrays", "class folders"


@dataclass(frozen=True)
class Cifar:
    """One of the two data sets, and what its files are called.

    Attributes:
        name: of its folder, of ``NAME.npz`` and of archives of images.
        title: what people call it.
        num_classes: number of classes.
        normalization: mean and standard deviation of the channels that are customary.
        python_folder: folder of the batches for Python.
        python_archive: the archive of it.
        python_batches: names of its files, of training and of test.
        labels_key: name of the labels in them.
        binary_folder: folder of the binary batches.
        binary_archive: the archive of it.
        binary_batches: names of its files, of training and of test.
        label_bytes: before the pixels of an image there; the last one is the label.
        examples: number of images, of training and of test.
    """

    name: str
    title: str
    num_classes: int
    normalization: Normalization
    python_folder: str
    python_archive: str
    python_batches: tuple[tuple[str, ...], tuple[str, ...]]
    labels_key: str
    binary_folder: str
    binary_archive: str
    binary_batches: tuple[tuple[str, ...], tuple[str, ...]]
    label_bytes: int
    examples: tuple[int, int] = (50_000, 10_000)


CIFAR10 = Cifar(
    name="cifar10",
    title="CIFAR-10",
    num_classes=10,
    normalization=Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    python_folder="cifar-10-batches-py",
    python_archive="cifar-10-python.tar.gz",
    python_batches=(tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",)),
    labels_key="labels",
    binary_folder="cifar-10-batches-bin",
    binary_archive="cifar-10-binary.tar.gz",
    binary_batches=(tuple(f"data_batch_{number}.bin" for number in range(1, 6)), ("test_batch.bin",)),
    label_bytes=1,
)
CIFAR100 = Cifar(
    name="cifar100",
    title="CIFAR-100",
    num_classes=100,
    normalization=Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    python_folder="cifar-100-python",
    python_archive="cifar-100-python.tar.gz",
    python_batches=(("train",), ("test",)),
    labels_key="fine_labels",
    binary_folder="cifar-100-binary",
    binary_archive="cifar-100-binary.tar.gz",
    binary_batches=(("train.bin",), ("test.bin",)),
    label_bytes=2,
)


def cifar10() -> Dataset:
    """CIFAR-10: bytes ``[60000, 32, 32, 3]``, labels 0 to 9, the official test set of 10,000 last.

    Looked for in every folder (see ``folders_of``) in this order: the batches for Python, as a folder or an archive;
    the binary batches; ``cifar10.npz``, as ``arrays`` reads it; class folders of images, or an archive
    ``cifar10*.tar*`` of them. If the images are JPEGs, the data set's name says so: ``CIFAR-10 (JPEG q75)``. They are
    decoded once and kept in the cache. Their order is that of ``cifar10-labels-in-order.npz`` beside them (``train``
    and ``test``), or by class and file name.

    Raises:
        DataError: if it is not here, or not as it should be.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
    """
    return _cifar(CIFAR10)


def cifar100() -> Dataset:
    """CIFAR-100 with its 100 fine labels, in everything else like ``cifar10``.

    Raises:
        DataError: if it is not here, or not as it should be.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
    """
    return _cifar(CIFAR100)


def find_cifar(kind: Cifar) -> Found | None:
    """The first of the forms in the first folder that has any."""
    for folder in folders_of(kind.name):
        # Elsewhere, train and test may be the folders of any data set.
        own = folder.name == kind.name
        candidates = (
            (PYTHON, [folder / kind.python_folder]),
            (PYTHON, [folder / kind.python_archive]),
            (BINARY, [folder / kind.binary_folder]),
            (BINARY, [folder / kind.binary_archive]),
            (ARRAYS, [folder / f"{kind.name}.npz"]),
            (IMAGES, [folder] if own and all((folder / part).is_dir() for part in PARTS) else []),
            (IMAGES, [path for path in sorted(folder.glob(f"{kind.name}[!0-9]*")) if path.name.endswith(ARCHIVES)]),
        )
        for form, paths in candidates:
            for path in paths:
                if path.exists():
                    return Found(path, form)
    return None


@functools.cache
def read_cifar(kind: Cifar, found: Found) -> Dataset:
    """The data set in files of one form."""
    title = kind.title
    if found.kind == PYTHON:
        images, labels = _read_batches(kind, found.path, kind.python_batches, _python_batch)
    elif found.kind == BINARY:
        images, labels = _read_batches(kind, found.path, kind.binary_batches, _binary_batch)
    elif found.kind == ARRAYS:
        images, labels = _read_arrays(kind, found.path)
    else:
        images, labels, loss = _read_images(kind, found.path)
        title = f"{title} ({loss})" if loss else title
    return Dataset(
        name=title,
        inputs=images,
        targets=labels.astype(np.int32),
        num_classes=kind.num_classes,
        fixed_test=kind.examples[1],
        normalization=kind.normalization,
    )


def _cifar(kind: Cifar) -> Dataset:
    found = find_cifar(kind)
    if found is None:
        raise not_here(kind.name, kind.title)
    return read_cifar(kind, Found(found.path.resolve(), found.kind))


def _read_batches(kind, source, batches, read_batch) -> tuple[np.ndarray, np.ndarray]:
    files = read_files(source, [name for names in batches for name in names])
    images, labels = [], []
    for names, examples in zip(batches, kind.examples, strict=True):
        for name in names:
            pixels, classes = read_batch(kind, files[name], f"{source}: {name}", examples // len(names))
            if classes.max(initial=0) >= kind.num_classes or classes.min(initial=0) < 0:
                wrong = next(label for label in classes if not 0 <= label < kind.num_classes)
                raise DataError(f"{source}: {name}: label {wrong} is none of the classes 0 to {kind.num_classes - 1}")
            images.append(pixels)
            labels.append(classes)
    planes = np.concatenate(images).reshape(-1, CHANNELS, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.concatenate(labels)


def _python_batch(kind: Cifar, content: bytes, source: str, examples: int) -> tuple[np.ndarray, np.ndarray]:
    batch = unpickle_batch(content, source)
    pixels, labels = batch.get("data"), batch.get(kind.labels_key)
    if not isinstance(pixels, np.ndarray) or pixels.shape != (examples, PIXELS):
        there = f"of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else "missing"
        raise DataError(f"{source}: data {there}, where uint8 of shape {(examples, PIXELS)} is needed")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{source}: {kind.labels_key} missing, or no list of integers")
    if len(labels) != examples:
        raise DataError(f"{source}: {len(labels):,} labels for {examples:,} images")
    return pixels, np.asarray(labels)


def _binary_batch(kind: Cifar, content: bytes, source: str, examples: int) -> tuple[np.ndarray, np.ndarray]:
    record = kind.label_bytes + PIXELS
    if len(content) != examples * record:
        fault = "truncated" if len(content) < examples * record else "bytes left over"
        raise DataError(
            f"{source}: {fault}: {len(content):,} bytes, where {examples:,} images have {examples * record:,}"
        )
    records = np.frombuffer(content, np.uint8).reshape(examples, record)
    return records[:, kind.label_bytes :], records[:, kind.label_bytes - 1].astype(int)


def _read_arrays(kind: Cifar, path: Path) -> tuple[np.ndarray, np.ndarray]:
    data = arrays(path)
    needed = (sum(kind.examples), SIDE, SIDE, CHANNELS)
    if data.inputs.shape != needed or data.inputs.dtype != np.uint8 or data.fixed_test != kind.examples[1]:
        raise DataError(
            f"{path}: {data.inputs.dtype} of shape {data.inputs.shape}, of which {data.fixed_test:,} to test on, where "
            f"uint8 of shape {needed}, of which {kind.examples[1]:,} to test on, is needed"
        )
    if data.num_classes is None or data.num_classes > kind.num_classes:
        raise DataError(f"{path}: targets are not the classes 0 to {kind.num_classes - 1}")
    return data.inputs, data.targets


def _read_images(kind: Cifar, source: Path) -> tuple[np.ndarray, np.ndarray, str]:
    beside = (source if source.is_dir() else source.parent) / f"{kind.name}-labels-in-order.npz"
    labels_file = beside if beside.is_file() else None

    def decode() -> dict[str, np.ndarray]:
        decoded = read_class_folders(source, (SIDE, SIDE), kind.num_classes, labels_file)
        for part, examples in zip(PARTS, kind.examples, strict=True):
            if len(decoded.labels[part]) != examples:
                raise DataError(f"{source}: {len(decoded.labels[part]):,} images in {part}, {examples:,} needed")
        return {
            "images": np.concatenate([decoded.images[part] for part in PARTS]),
            "labels": np.concatenate([decoded.labels[part] for part in PARTS]).astype(np.uint8),
            "loss": np.asarray(decoded.loss),
        }

    kept = cached_arrays(kind.name, fingerprint(source, labels_file), decode)
    return kept["images"], kept["labels"], str(kept["loss"])
