"""ImageNet and Imagenette (ten of its classes): photographs in class folders, read from disk as needed."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from widebasin.data.archives import archives_in
from widebasin.data.dataset import Dataset, Normalization
from widebasin.data.errors import DataError
from widebasin.data.image_files import list_image_files, unpacked
from widebasin.data.places import ENVIRONMENT, Found, cache_folder, folders_here, folders_of

NORMALIZATION = Normalization(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class ImageFolders:
    """A data set of image files.

    Attributes:
        name: name of its folder.
        title: its usual name.
        num_classes: number of its classes.
        archived: whether its authors publish a tar archive, named like the data set.
    """

    name: str
    title: str
    num_classes: int
    archived: bool = False


IMAGENET = ImageFolders("imagenet", "ImageNet", 1000)
IMAGENETTE = ImageFolders("imagenette", "Imagenette", 10, archived=True)


def imagenet() -> Dataset:
    """1.28 million training and 50,000 validation photographs in 1,000 classes.

    They are expected in ``train/<class>/`` and ``val/<class>/``, in one of the folders of ``folders_of("imagenet")``.
    ``inputs`` are the indices of the files in ``files``; the images of ``val`` come last and are the test set.

    Raises:
        DataError: if the folders cannot be found or are invalid.

    Source: Russakovsky et al. 2015 (arXiv 1409.0575), classification.
    """
    return _load(IMAGENET)


def imagenette() -> Dataset:
    """Photographs of ten classes of ImageNet that are easy to distinguish; otherwise like ``imagenet``.

    A tar archive is unpacked into the cache.

    Raises:
        DataError: if the folders cannot be found or are invalid.

    Source: Howard 2019, https://github.com/fastai/imagenette.
    """
    return _load(IMAGENETTE)


def find_image_folders(kind: ImageFolders) -> Found | None:
    """The first folder with ``train`` and ``val``, or else the first archive."""
    folders = folders_here(kind.name)
    for folder in folders:
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return Found(folder, "class folders")
    for folder in folders if kind.archived else ():
        for archive in archives_in(folder, kind.name):
            return Found(archive, "tar archive")
    return None


def _load(kind: ImageFolders) -> Dataset:
    found = find_image_folders(kind)
    if found is None:
        looked = ", ".join(str(folder) for folder in folders_of(kind.name))
        archive = ", or as the archive that its authors publish" if kind.archived else ""
        raise DataError(
            f"{kind.title} was not found and cannot be downloaded by this program: put its images into train/<class>/ "
            f"and val/<class>/{archive}, and set {ENVIRONMENT} to that folder (searched {looked})"
        )
    is_archive = found.kind == "tar archive"
    return _read(kind, unpacked(found.path, cache_folder("data") / kind.name) if is_archive else found.path)


@functools.cache
def _read(kind: ImageFolders, root: Path) -> Dataset:
    files = list_image_files(root)
    if len(files.classes) != kind.num_classes:
        raise DataError(
            f"{root}: {len(files.classes)} class folders in train and val, but {kind.title} has {kind.num_classes:,}"
        )
    return Dataset(
        name=kind.name,
        inputs=np.arange(len(files), dtype=np.int32),
        targets=files.labels,
        num_classes=kind.num_classes,
        fixed_test=files.num_val,
        normalization=NORMALIZATION,
        files=files,
    )
