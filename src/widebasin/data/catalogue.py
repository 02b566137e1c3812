"""The data sets that have a name: what they are, where they come from, how they are read."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from widebasin.data.cifar import CIFAR10, CIFAR100, IMAGES, Cifar, cifar10, cifar100, find_cifar
from widebasin.data.dataset import Dataset
from widebasin.data.download import Report, discard_partial, download, has_checksum
from widebasin.data.errors import DataError
from widebasin.data.imagenet import IMAGENET, IMAGENETTE, find_image_folders, imagenet, imagenette
from widebasin.data.mnist import FASHION_MNIST, MNIST, IdxImages, fashion_mnist, find_idx_images, mnist
from widebasin.data.places import ENVIRONMENT, Found, folders_of


@dataclass(frozen=True)
class PublishedFile:
    """A file as its authors publish it.

    Attributes:
        name: of the file.
        homes: addresses of the folders it is in, the first one to be asked first.
        checksum: "md5:..." as published.
        size: in bytes.
    """

    name: str
    homes: tuple[str, ...]
    checksum: str
    size: int

    @property
    def urls(self) -> tuple[str, ...]:
        """Its addresses."""
        return tuple(f"{home}{self.name}" for home in self.homes)


@dataclass(frozen=True)
class DatasetSource:
    """A data set that has a name.

    Attributes:
        name: on the command line, and of its folder.
        title: what people call it.
        description: one line.
        examples: number of training and of test examples.
        shape: of an example.
        num_classes: number of classes.
        load: reads it.
        find: where it is, or ``None``.
        files: what is published; empty if it cannot be downloaded.
        class_counts: number of examples per class, of training and of test; ``None`` if any number will do.
        obtain: how to get it, if it cannot be downloaded.
    """

    name: str
    title: str
    description: str
    examples: tuple[int, int]
    shape: tuple[int, ...]
    num_classes: int
    load: Callable[[], Dataset]
    find: Callable[[], Found | None]
    files: tuple[PublishedFile, ...] = ()
    class_counts: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    obtain: str = ""

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)

    def damaged(self, found: Found) -> list[str]:
        """The published files there that do not have their published checksum."""
        there = (
            {found.path.name: found.path} if found.path.is_file() else {f.name: found.path / f.name for f in self.files}
        )
        return [
            f"{there[file.name]}: does not have the published checksum {file.checksum}"
            for file in self.files
            if file.name in there and there[file.name].is_file() and not has_checksum(there[file.name], file.checksum)
        ]

    def fetch(self, report: Report = lambda name, done, total: None) -> Found:
        """Downloads it, unless it is here and sound; images in class folders do not count, they may be lossy.

        Args:
            report: is told about progress.

        Returns:
            Where it is.

        Raises:
            DataError: if it cannot be downloaded, with the reasons.
        """
        found = self.find()
        if found is not None and (found.kind != IMAGES or not self.files) and not self.damaged(found):
            for file in self.files:
                for folder in folders_of(self.name):
                    discard_partial(folder / file.name)
            return found
        if not self.files:
            raise DataError(f"{self.title} cannot be downloaded by this program: {self.obtain}")
        folder = folders_of(self.name)[0]
        for file in self.files:
            download(file.urls, file.checksum, folder / file.name, report)
        found = self.find()
        assert found is not None
        return found

    def check(self) -> tuple[Dataset, Found]:
        """Reads it wholly, and compares checksums, shapes and numbers of examples per class with what is published.

        Of a data set of image files only the folders are read.

        Raises:
            DataError: if it is not here, or anything differs.
        """
        data = self.load()
        found = self.find()
        assert found is not None
        if self.class_counts is None:
            return data, found
        faults = self.damaged(found)
        if data.inputs.shape != (sum(self.examples), *self.shape):
            faults.append(f"{found.path}: inputs have shape {data.inputs.shape}")
        for part, labels, expected in zip(("train", "test"), parts(data), self.class_counts, strict=True):
            counts = tuple(np.bincount(labels, minlength=self.num_classes).tolist())
            if counts != expected:
                label = next(i for i, (a, b) in enumerate(zip(counts, expected, strict=True)) if a != b)
                faults.append(
                    f"{found.path}: {counts[label]:,} {part} examples of class {label}, where {expected[label]:,} are "
                    "published"
                )
        if faults:
            raise DataError("; ".join(faults))
        return data, found


def parts(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The targets of the training examples and of the official test set."""
    start = len(data) - data.fixed_test
    return data.targets[:start], data.targets[start:]


def _idx_source(kind: IdxImages, load: Callable[[], Dataset], description: str, homes, files, counts) -> DatasetSource:
    return DatasetSource(
        name=kind.name,
        title=kind.title,
        description=description,
        examples=(kind.train_examples, kind.test_examples),
        shape=(28, 28, 1),
        num_classes=10,
        load=load,
        find=lambda: find_idx_images(kind),
        files=tuple(PublishedFile(name, homes, f"md5:{digest}", size) for name, digest, size in files),
        class_counts=counts,
    )


def _cifar_source(kind: Cifar, load: Callable[[], Dataset], description: str, digest: str, size: int) -> DatasetSource:
    homes = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
    train, test = (examples // kind.num_classes for examples in kind.examples)
    return DatasetSource(
        name=kind.name,
        title=kind.title,
        description=description,
        examples=kind.examples,
        shape=(32, 32, 3),
        num_classes=kind.num_classes,
        load=load,
        find=lambda: find_cifar(kind),
        files=(PublishedFile(kind.binary_archive, homes, f"md5:{digest}", size),),
        class_counts=((train,) * kind.num_classes, (test,) * kind.num_classes),
    )


_SOURCES = (
    _idx_source(
        MNIST,
        mnist,
        "handwritten digits",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        (
            ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
            ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28_881),
            ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1_648_877),
            ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4_542),
        ),
        (
            (5_923, 6_742, 5_958, 6_131, 5_842, 5_421, 5_918, 6_265, 5_851, 5_949),
            (980, 1_135, 1_032, 1_010, 982, 892, 958, 1_028, 974, 1_009),
        ),
    ),
    _idx_source(
        FASHION_MNIST,
        fashion_mnist,
        "articles of clothing",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        (
            ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
            ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
            ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
            ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5_148),
        ),
        ((6_000,) * 10, (1_000,) * 10),
    ),
    _cifar_source(CIFAR10, cifar10, "photographs", "c32a1d4ab5d03f1284b67883e8d87530", 170_052_171),
    _cifar_source(CIFAR100, cifar100, "photographs, fine labels", "03b5dce01913d631647c71ecec9e9cb8", 168_513_733),
    DatasetSource(
        name=IMAGENET.name,
        title=IMAGENET.title,
        description="photographs",
        examples=(1_281_167, 50_000),
        shape=(224, 224, 3),
        num_classes=1_000,
        load=imagenet,
        find=lambda: find_image_folders(IMAGENET),
        obtain="only people who have agreed to its terms may. Sign in at https://image-net.org, get "
        "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, and unpack them into train/<class>/ and val/<class>/ of "
        f"a folder imagenet in ${ENVIRONMENT}",
    ),
    DatasetSource(
        name=IMAGENETTE.name,
        title=IMAGENETTE.title,
        description="photographs, easy classes of ImageNet",
        examples=(9_469, 3_925),
        shape=(224, 224, 3),
        num_classes=10,
        load=imagenette,
        find=lambda: find_image_folders(IMAGENETTE),
        obtain="get imagenette2.tgz, imagenette2-320.tgz or imagenette2-160.tgz from "
        f"https://github.com/fastai/imagenette and put it into a folder imagenette in ${ENVIRONMENT}",
    ),
)

DATASETS: dict[str, DatasetSource] = {source.name: source for source in _SOURCES}
