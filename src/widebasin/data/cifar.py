"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32 x 32 pixels, from any common file format."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from widebasin.data.archives import archives_in, read_files
from widebasin.data.arrays import arrays
from widebasin.data.class_folders import PARTS, fingerprint, read_class_folders
from widebasin.data.dataset import Dataset, Normalization
from widebasin.data.errors import DataError
from widebasin.data.npz import cached_arrays
from widebasin.data.places import Found, folders_here, not_here

SIDE, CHANNELS = 32, 3
PIXELS = CHANNELS * SIDE * SIDE
BINARY, ARRAYS, IMAGES = "binary batches", "arrays", "class folders"


@dataclass(frozen=True)
class Cifar:
    """One of the two data sets, and the names of its files.

    Attributes:
        name: name of its folder, of ``NAME.npz`` and of archives of images.
        title: its usual name.
        num_classes: number of classes.
        normalization: the customary mean and standard deviation of the channels.
        binary_folder: folder of the binary batches.
        binary_archive: the archive of this folder.
        binary_batches: names of its files for training and test.
        label_bytes: number of bytes before the pixels of an image; the last of them is the label.
        pickles: folder and archive of the Python batches, which are pickles and are not read.
        examples: number of images for training and test.
    """

    name: str
    title: str
    num_classes: int
    normalization: Normalization
    binary_folder: str
    binary_archive: str
    binary_batches: tuple[tuple[str, ...], tuple[str, ...]]
    label_bytes: int
    pickles: tuple[str, str]
    examples: tuple[int, int] = (50_000, 10_000)


CIFAR10 = Cifar(
    name="cifar10",
    title="CIFAR-10",
    num_classes=10,
    normalization=Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    binary_folder="cifar-10-batches-bin",
    binary_archive="cifar-10-binary.tar.gz",
    binary_batches=(tuple(f"data_batch_{number}.bin" for number in range(1, 6)), ("test_batch.bin",)),
    label_bytes=1,
    pickles=("cifar-10-batches-py", "cifar-10-python.tar.gz"),
)
CIFAR100 = Cifar(
    name="cifar100",
    title="CIFAR-100",
    num_classes=100,
    normalization=Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    binary_folder="cifar-100-binary",
    binary_archive="cifar-100-binary.tar.gz",
    binary_batches=(("train.bin",), ("test.bin",)),
    label_bytes=2,
    pickles=("cifar-100-python", "cifar-100-python.tar.gz"),
)


def cifar10() -> Dataset:
    """CIFAR-10: bytes ``[60000, 32, 32, 3]``, labels 0 to 9, the official test set of 10,000 last.

    Every folder (see ``folders_of``) is searched in this order: the binary batches, as a folder or an archive;
    ``cifar10.npz``, in the format of ``arrays``; class folders of images, or an archive ``cifar10*.tar*`` of them. The
    Python batches are not read: they are pickles, which can run any code and use any amount of memory.

    If the images are JPEGs, the data set's name says so: ``CIFAR-10 (JPEG q75)``. They are decoded once and kept in the
    cache. They are ordered as in ``cifar10-labels-in-order.npz`` in the same folder (arrays ``train`` and ``test``), or
    by class and file name. Reading takes at most four times the memory of the images.

    Raises:
        DataError: if it cannot be found or is invalid.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
    """
    return _cifar(CIFAR10)


def cifar100() -> Dataset:
    """CIFAR-100 with its 100 fine labels, otherwise like ``cifar10``.

    Raises:
        DataError: if it cannot be found or is invalid.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
    """
    return _cifar(CIFAR100)


def find_cifar(kind: Cifar) -> Found | None:
    """The files in the first folder that has any, in the first format found there."""
    for folder in folders_here(kind.name):
        if (folder / kind.binary_folder).is_dir():
            return Found(folder / kind.binary_folder, BINARY)
        for name, form in ((kind.binary_archive, BINARY), (f"{kind.name}.npz", ARRAYS)):
            if (folder / name).is_file():
                return Found(folder / name, form)
        # Elsewhere, train and test may be the folders of any data set.
        if folder.name == kind.name and all((folder / part).is_dir() for part in PARTS):
            return Found(folder, IMAGES)
        for path in archives_in(folder, kind.name):
            if not path.name[len(kind.name)].isdigit():  # cifar100 is no archive of cifar10
                return Found(path, IMAGES)
    return None


@functools.cache
def read_cifar(kind: Cifar, found: Found) -> Dataset:
    """Reads the data set from files of one format."""
    title = kind.title
    if found.kind == BINARY:
        images, labels = _read_batches(kind, found.path)
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
        raise not_here(kind.name, kind.title, lambda folder: _pickles_note(kind, folder))
    return read_cifar(kind, Found(found.path.resolve(), found.kind))


def _pickles_note(kind: Cifar, folder: Path) -> str:
    there = [name for name in kind.pickles if (folder / name).exists()]
    return f" (has {there[0]}, which contains pickles and is not read; {kind.binary_archive} is read)" if there else ""


def _read_batches(kind: Cifar, source: Path) -> tuple[np.ndarray, np.ndarray]:
    record = kind.label_bytes + PIXELS
    sizes = {
        name: examples // len(names) * record
        for names, examples in zip(kind.binary_batches, kind.examples, strict=True)
        for name in names
    }
    files = read_files(source, list(sizes), max(sizes.values()))
    images, labels = [], []
    for name, size in sizes.items():
        content = files.pop(name)
        if len(content) != size:
            fault = "truncated" if len(content) < size else "too long"
            raise DataError(
                f"{source}: {name}: {fault}: {len(content):,} bytes, but {size // record:,} images have {size:,}"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, record)
        classes = records[:, kind.label_bytes - 1]
        if classes.max(initial=0) >= kind.num_classes:
            raise DataError(
                f"{source}: {name}: label {classes.max()} is not one of the classes 0 to {kind.num_classes - 1}"
            )
        planes = records[:, kind.label_bytes :].reshape(-1, CHANNELS, SIDE, SIDE)
        images.append(planes.transpose(0, 2, 3, 1))
        labels.append(classes)
    return np.concatenate(images), np.concatenate(labels)


def _read_arrays(kind: Cifar, path: Path) -> tuple[np.ndarray, np.ndarray]:
    data = arrays(path, task="classification")
    needed = (sum(kind.examples), SIDE, SIDE, CHANNELS)
    if data.inputs.shape != needed or data.inputs.dtype != np.uint8 or data.fixed_test != kind.examples[1]:
        raise DataError(
            f"{path}: {data.inputs.dtype} of shape {data.inputs.shape} with {data.fixed_test:,} test examples, but "
            f"uint8 of shape {needed} with {kind.examples[1]:,} test examples is needed"
        )
    if data.num_classes is None or data.num_classes > kind.num_classes:
        raise DataError(f"{path}: targets are not the classes 0 to {kind.num_classes - 1}")
    return data.inputs, data.targets


def _read_images(kind: Cifar, source: Path) -> tuple[np.ndarray, np.ndarray, str]:
    beside = (source if source.is_dir() else source.parent) / f"{kind.name}-labels-in-order.npz"
    labels_file = beside if beside.is_file() else None

    def decode() -> dict[str, np.ndarray]:
        decoded = read_class_folders(source, (SIDE, SIDE), kind.num_classes, labels_file, kind.examples)
        for part, examples in zip(PARTS, kind.examples, strict=True):
            if len(decoded.labels[part]) != examples:
                raise DataError(f"{source}: {len(decoded.labels[part]):,} images in {part}, but {examples:,} needed")
        return {
            "images": np.concatenate([decoded.images[part] for part in PARTS]),
            "labels": np.concatenate([decoded.labels[part] for part in PARTS]).astype(np.uint8),
            "loss": np.asarray(decoded.loss),
        }

    kept = cached_arrays(kind.name, fingerprint(source, labels_file), ("images", "labels", "loss"), decode)
    return kept["images"], kept["labels"], str(kept["loss"])
