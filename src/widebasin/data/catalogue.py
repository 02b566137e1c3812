"""The data sets that have a name: what they are, where they come from, how they are read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from widebasin.data.cifar import CIFAR10, CIFAR100, IMAGES, Cifar, cifar10, cifar100, find_cifar
from widebasin.data.dataset import Dataset
from widebasin.data.download import Report, discard_partial, download, has_checksum
from widebasin.data.errors import DataError
from widebasin.data.graph_places import find_graphs
from widebasin.data.imagenet import IMAGENET, IMAGENETTE, find_image_folders, imagenet, imagenette
from widebasin.data.mnist import FASHION_MNIST, MNIST, IdxImages, fashion_mnist, find_idx_images, mnist
from widebasin.data.molecule_tables import molecule_table
from widebasin.data.molecules import Molecules
from widebasin.data.ogb import ogb_molecules
from widebasin.data.places import ENVIRONMENT, Found, folders_of
from widebasin.data.sst2 import NAME as SST2
from widebasin.data.sst2 import STSA_HOME, find_sst2, sst2
from widebasin.data.sst2 import TITLE as SST2_TITLE
from widebasin.data.treebanks import find_treebank, treebank


@dataclass(frozen=True)
class PublishedFile:
    """A file as its authors publish it.

    Attributes:
        name: of the file.
        homes: addresses of the folders it is in, the first one to be asked first.
        checksum: "md5:..." or "sha256:..." as published.
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


class Checked(NamedTuple):
    """A data set that is sound.

    Attributes:
        dataset: the data set.
        found: where it is.
        contents: what is in it, in words.
    """

    dataset: Dataset
    found: Found
    contents: str


@dataclass(frozen=True)
class DatasetSource:
    """A data set that has a name.

    Attributes:
        name: on the command line, and of its folder.
        title: what people call it.
        description: one line, also of the classes.
        examples: number of training and of test examples, or of those to train, to validate and to test on.
        shape: of an example, in words, such as "28 x 28 x 1".
        load: reads it.
        find: where it is, or ``None``.
        inspect: says in words what is in the data set that is read, and raises ``DataError`` if it is not what is
            published.
        files: what is published; empty if it cannot be downloaded.
        obtain: how to get it, if it cannot be downloaded.
        images: whether examples are images, and targets one label each.
    """

    name: str
    title: str
    description: str
    examples: tuple[int, ...]
    shape: str
    load: Callable[[], Dataset]
    find: Callable[[], Found | None]
    inspect: Callable[[Dataset], str]
    files: tuple[PublishedFile, ...] = ()
    obtain: str = ""
    images: bool = False

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

    def check(self) -> Checked:
        """Reads it wholly, and compares checksums and what is in it with what is published.

        Of a data set of image files only the folders are read.

        Raises:
            DataError: if it is not here, or anything differs.
        """
        data = self.load()
        found = self.find()
        assert found is not None
        faults, contents = self.damaged(found), ""
        try:
            contents = self.inspect(data)
        except DataError as error:
            faults.append(f"{found.path}: {error}")
        if faults:
            raise DataError("; ".join(faults))
        return Checked(data, found, contents)


def parts(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The targets of the training examples and of the official test set."""
    start = len(data) - data.fixed_test
    return data.targets[:start], data.targets[start:]


@dataclass(frozen=True)
class ImageCounts:
    """Images, of which so many of every class are published.

    Attributes:
        shape: of an image.
        num_classes: number of classes.
        published: number of images per class, of training and of test; ``None`` if any number will do.
    """

    shape: tuple[int, ...]
    num_classes: int
    published: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def __call__(self, data: Dataset) -> str:
        """Says how many images there are, and how many of a class.

        Raises:
            DataError: if shapes or numbers are others than published.
        """
        counts = [np.bincount(labels, minlength=self.num_classes) for labels in parts(data)]
        if self.published is not None:
            self._compare(data, counts)
        train, test = (_range(int(count.min()), int(count.max())) for count in counts)
        what = f"examples of shape {_product(self.shape)}" if data.files is None else "files, not opened"
        return f"{len(data):,} {what}; per class {train} to train and {test} to test on"

    def _compare(self, data: Dataset, counts: list[np.ndarray]) -> None:
        assert self.published is not None
        faults = []
        if data.inputs.shape != (sum(map(sum, self.published)), *self.shape):
            faults.append(f"inputs have shape {data.inputs.shape}")
        for part, count, expected in zip(("train", "test"), counts, self.published, strict=True):
            differ = np.flatnonzero(count != np.array(expected))
            if len(differ):
                label = differ[0]
                faults.append(
                    f"{count[label]:,} {part} examples of class {label}, where {expected[label]:,} are published"
                )
        if faults:
            raise DataError("; ".join(faults))


def _inspect_sst2(data: Dataset) -> str:
    train, dev, test = SST2_SIZES
    if (len(data), data.fixed_test) != (sum(SST2_SIZES), test):
        raise DataError(
            f"{len(data):,} phrases and sentences, {data.fixed_test:,} of them to test on, where "
            f"{sum(SST2_SIZES):,} and {test:,} are published"
        )
    learnt, tested = (f"{labels.mean():.1%}" for labels in parts(data))
    return (
        f"{train:,} phrases to train, {dev:,} sentences to validate and {test:,} to test on; in favour are {learnt} of "
        f"the first two, and {tested} of those to test on"
    )


def _inspect_treebank(data: Dataset) -> str:
    words, tagged = int((data.inputs["words"] > 0).sum()), int((data.targets >= 0).sum())
    return f"{len(data):,} sentences, {words:,} words, {tagged:,} of them tagged; number of tags: {data.num_classes}"


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _treebank_source(
    name: str, folder: str, description: str, examples: tuple[int, int, int], column: str = "upos"
) -> DatasetSource:
    return DatasetSource(
        name=name,
        title=folder.replace("_", " "),
        description=description,
        examples=examples,
        shape="tagged words",
        load=lambda: treebank(folder, column).dataset,
        find=lambda: find_treebank(folder),
        inspect=_inspect_treebank,
        obtain="get the files *-ud-train.conllu, *-ud-dev.conllu and *-ud-test.conllu from "
        f"https://github.com/UniversalDependencies/{folder} and put them into a folder ud/{folder} in ${ENVIRONMENT}",
    )


# The tables here and there differ in columns and rows, so that no checksum holds for all.
MOLECULENET = (
    "get its table, with a column of SMILES, from https://moleculenet.org/datasets-1 and put it into a folder mol in "
    f"${ENVIRONMENT}"
)


def _molecules_source(
    name: str, title: str, description: str, examples: tuple[int, int, int], obtain: str
) -> DatasetSource:
    return DatasetSource(
        name=name,
        title=title,
        description=f"molecules, {description}",
        examples=examples,
        shape="graphs of atoms",
        load=lambda: _molecules(name).dataset,
        find=lambda: _found_molecules(name),
        inspect=_inspect_molecules,
        obtain=obtain,
    )


def _found_molecules(name: str) -> Found | None:
    path = find_graphs(name)
    return None if path is None else Found(path, "table of SMILES" if path.is_file() else "folder of OGB")


def _molecules(name: str) -> Molecules:
    found = _found_molecules(name)
    if found is None:
        raise DataError(f"{name} was not found; widebasin data fetch {name} says where to get it")
    return molecule_table(found.path) if found.path.is_file() else ogb_molecules(found.path)


def _inspect_molecules(data: Dataset) -> str:
    targets = np.asarray(data.targets)
    known = targets >= 0
    positive = 100 * (targets == 1).sum() / max(int(known.sum()), 1)
    return (
        f"{len(data):,} molecules of at most {data.inputs['nodes'].shape[1]} atoms, {targets.shape[1]} "
        f"task{'s' * (targets.shape[1] != 1)}, "
        f"{100 * known.mean():.1f}% of the labels known, {positive:.1f}% of these positive"
    )


def _idx_source(kind: IdxImages, load: Callable[[], Dataset], description: str, homes, files, counts) -> DatasetSource:
    return DatasetSource(
        name=kind.name,
        title=kind.title,
        description=f"{description}, 10 classes",
        examples=(kind.train_examples, kind.test_examples),
        shape=_product((28, 28, 1)),
        load=load,
        find=lambda: find_idx_images(kind),
        inspect=ImageCounts((28, 28, 1), 10, counts),
        files=tuple(PublishedFile(name, homes, f"md5:{digest}", size) for name, digest, size in files),
        images=True,
    )


def _cifar_source(kind: Cifar, load: Callable[[], Dataset], description: str, digest: str, size: int) -> DatasetSource:
    homes = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
    train, test = (examples // kind.num_classes for examples in kind.examples)
    return DatasetSource(
        name=kind.name,
        title=kind.title,
        description=f"{description}, {kind.num_classes} classes",
        examples=kind.examples,
        shape=_product((32, 32, 3)),
        load=load,
        find=lambda: find_cifar(kind),
        inspect=ImageCounts((32, 32, 3), kind.num_classes, ((train,) * kind.num_classes, (test,) * kind.num_classes)),
        files=(PublishedFile(kind.binary_archive, homes, f"md5:{digest}", size),),
        images=True,
    )


# Examples to train, to validate and to test on.
SST2_SIZES = (67_349, 872, 1_821)
_GLUE_HOMES = ("https://dl.fbaipublicfiles.com/glue/data/",)

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
        description="photographs, 1,000 classes",
        examples=(1_281_167, 50_000),
        shape=_product((224, 224, 3)),
        load=imagenet,
        find=lambda: find_image_folders(IMAGENET),
        inspect=ImageCounts((224, 224, 3), 1_000),
        images=True,
        obtain="only people who have agreed to its terms may. Sign in at https://image-net.org, get "
        "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, and unpack them into train/<class>/ and val/<class>/ of "
        f"a folder imagenet in ${ENVIRONMENT}",
    ),
    DatasetSource(
        name=IMAGENETTE.name,
        title=IMAGENETTE.title,
        description="photographs, easy classes of ImageNet, 10 classes",
        examples=(9_469, 3_925),
        shape=_product((224, 224, 3)),
        load=imagenette,
        find=lambda: find_image_folders(IMAGENETTE),
        inspect=ImageCounts((224, 224, 3), 10),
        images=True,
        obtain="get imagenette2.tgz, imagenette2-320.tgz or imagenette2-160.tgz from "
        f"https://github.com/fastai/imagenette and put it into a folder imagenette in ${ENVIRONMENT}",
    ),
    DatasetSource(
        name=SST2,
        title=SST2_TITLE,
        description="phrases and sentences about films, for or against",
        examples=SST2_SIZES,
        shape="60 words",
        load=sst2,
        find=find_sst2,
        inspect=_inspect_sst2,
        files=(
            PublishedFile(
                "SST-2.zip",
                _GLUE_HOMES,
                "sha256:d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa",
                7_439_277,
            ),
            *(
                PublishedFile(f"stsa.binary.{part}", (STSA_HOME,), f"sha256:{digest}", size)
                for part, digest, size in (
                    ("train", "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338", 738_844),
                    ("dev", "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1", 94_400),
                    ("test", "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b", 193_562),
                )
            ),
        ),
    ),
    # Sizes are those of a release; others differ.
    _treebank_source("ud-english-lines", "UD_English-LinES", "English with parts of speech", (3_457, 1_118, 1_121)),
    _treebank_source("ud-english-partut", "UD_English-ParTUT", "English with parts of speech", (1_781, 156, 153)),
    _treebank_source(
        "ud-ancient-greek-perseus",
        "UD_Ancient_Greek-Perseus",
        "Ancient Greek with parts of speech and forms",
        (11_476, 1_137, 1_306),
        "xpos",
    ),
    _molecules_source("tox21", "Tox21", "12 assays of toxicity", (6_258, 782, 783), MOLECULENET),
    _molecules_source("hiv", "HIV", "activity against HIV", (32_896, 4_112, 4_112), MOLECULENET),
    _molecules_source("muv", "MUV", "17 assays of PubChem", (74_501, 9_313, 9_313), MOLECULENET),
    _molecules_source(
        "ogbg_molpcba",
        "ogbg-molpcba",
        "128 assays of PubChem",
        (350_343, 43_793, 43_793),
        "get https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/pcba.zip and unpack it into a folder "
        f"ogbg_molpcba in ${ENVIRONMENT}",
    ),
)

DATASETS: dict[str, DatasetSource] = {source.name: source for source in _SOURCES}
