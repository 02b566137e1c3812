"""MNIST and Fashion-MNIST: 70,000 greyscale images of 28 x 28 pixels in 10 classes, from their idx files."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from widebasin.data.dataset import Dataset, Normalization
from widebasin.data.errors import DataError
from widebasin.data.idx import first_values, read_idx
from widebasin.data.places import Found, folders_here, not_here


@dataclass(frozen=True)
class IdxImages:
    """A data set of idx files.

    Attributes:
        name: name of its folder.
        title: its usual name.
        first_labels: its first training labels, because data sets of this kind have the same file names.
        torchvision: its folder below the root folder of torchvision.
        train_examples: number of training images.
        test_examples: number of test images.
    """

    name: str
    title: str
    first_labels: tuple[int, ...]
    torchvision: str
    train_examples: int = 60_000
    test_examples: int = 10_000

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Prefixes of file names, and numbers of images."""
        return ("train", self.train_examples), ("t10k", self.test_examples)


MNIST = IdxImages("mnist", "MNIST", (5, 0, 4, 1, 9, 2, 1, 3, 1, 4), "MNIST/raw")
FASHION_MNIST = IdxImages("fashion-mnist", "Fashion-MNIST", (9, 0, 0, 3, 0, 2, 7, 2, 5, 5), "FashionMNIST/raw")
STEMS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
# As published, unpacked, and as some unpack them.
NAMES = ("{stem}-ubyte.gz", "{stem}-ubyte", "{dotted}-ubyte", "{dotted}-ubyte.gz")


def mnist() -> Dataset:
    """Handwritten digits: bytes ``[70000, 28, 28, 1]``, the official test set last, seen by a network as pixel / 255.

    Raises:
        DataError: if the files cannot be found or are invalid.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition".
    """
    return _mnist_like(MNIST)


def fashion_mnist() -> Dataset:
    """Articles of clothing, otherwise like ``mnist``.

    Raises:
        DataError: if the files cannot be found or are invalid.

    Source: Xiao et al. 2017 (arXiv 1708.07747).
    """
    return _mnist_like(FASHION_MNIST)


def find_idx_images(kind: IdxImages) -> Found | None:
    """The first folder that has all four files, under any of their names, also in torchvision's layout."""
    for folder in folders_here(kind.name):
        for place, own in (
            (folder, folder.name == kind.name),
            (folder / kind.torchvision, True),
            (folder / "raw", False),
        ):
            if not _missing(place) and (own or _is(kind, place)):
                return Found(place, "idx files")
    return None


@functools.cache
def read_idx_images(kind: IdxImages, folder: Path) -> Dataset:
    """Reads the data set from a folder."""
    images, labels = [], []
    for part, examples in kind.parts:
        images.append(_read(folder, f"{part}-images-idx3", (examples, 28, 28)))
        labels.append(_read(folder, f"{part}-labels-idx1", (examples,), 9))
    return Dataset(
        name=kind.title,
        inputs=np.concatenate(images)[..., None],
        targets=np.concatenate(labels).astype(np.int32),
        num_classes=10,
        fixed_test=kind.test_examples,
        normalization=Normalization(),
    )


def _mnist_like(kind: IdxImages) -> Dataset:
    found = find_idx_images(kind)
    if found is None:
        raise not_here(kind.name, kind.title, _lacks)
    return read_idx_images(kind, found.path.resolve())


def _file(folder: Path, stem: str) -> Path | None:
    paths = (folder / name.format(stem=stem, dotted=stem.replace("-idx", ".idx")) for name in NAMES)
    return next((path for path in paths if path.is_file()), None)


def _missing(folder: Path) -> list[str]:
    return [f"{stem}-ubyte.gz" for stem in STEMS if _file(folder, stem) is None]


def _lacks(folder: Path) -> str:
    missing = _missing(folder)
    return f" ({' and '.join(missing)} missing)" if len(missing) < len(STEMS) else ""


def _is(kind: IdxImages, folder: Path) -> bool:
    """Whether the files in a folder with another name belong to this data set."""
    path = _file(folder, "train-labels-idx1")
    try:
        return path is not None and tuple(first_values(path, len(kind.first_labels))) == kind.first_labels
    except DataError:
        return False


def _read(folder: Path, stem: str, shape: tuple[int, ...], largest: int = 255) -> np.ndarray:
    path = _file(folder, stem)
    if path is None:
        raise DataError(f"{folder}: {stem}-ubyte.gz is missing")
    array = read_idx(path, shape)
    if array.max(initial=0) > largest:
        raise DataError(f"{path}: label {array.max()} is not one of the classes 0 to {largest}")
    return array
