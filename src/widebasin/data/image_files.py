"""Data sets of image files in one folder per class, too large for memory."""

import errno
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from widebasin.data.archives import explained, opened_tar
from widebasin.data.errors import DataError
from widebasin.data.image_names import SUFFIXES, is_hidden, names_image
from widebasin.data.writing import written_aside


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Paths and labels; the images stay on the disk until ``ImageReader`` reads them.

    Attributes:
        root: folder with ``train`` and ``val``.
        paths: paths of the files, relative to the root: the training images, then those of ``val``; each part sorted by
            class and file name.
        labels: labels of the files; classes are numbered in the order of their names.
        classes: names of the classes.
        num_val: number of files in ``val``, which come last.
    """

    root: Path
    paths: tuple[str, ...]
    labels: Int32[np.ndarray, " files"]
    classes: tuple[str, ...]
    num_val: int

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def absolute(self, number: int) -> str:
        """The full path of a file."""
        return f"{self.root}{os.sep}{self.paths[number]}"

    def sizes(self) -> Int64[np.ndarray, " files"]:
        """Current sizes of the files in bytes.

        Every file is looked up: for the 1.3 million files of ImageNet this takes 3 seconds if the system has cached
        them, and 7 if it reads them from a local disk. A network disk takes longer.

        Raises:
            DataError: with the name of the first file that no longer exists.
        """
        try:
            # A Path for each would take three times as long.
            sizes = (os.stat(self.absolute(number)).st_size for number in range(len(self)))  # noqa: PTH116
            return np.fromiter(sizes, np.int64, len(self))
        except OSError as error:
            raise DataError(
                f"{error.filename}: cannot be read ({error.strerror}); restore the file, or list the files again"
            ) from error


def list_image_files(root: Path) -> ImageFiles:
    """All files ``train/<class>/*`` and ``val/<class>/*`` that end in .jpg, .jpeg or .png; the files are not opened.

    File extensions may be in upper case. Hidden files are skipped, and so are folders named like images.

    Raises:
        DataError: if a folder is missing or cannot be read, a class has no images, or the classes of ``train`` and
            ``val`` differ.
    """
    by_part = {part: _names_by_class(root / part) for part in ("train", "val")}
    classes = tuple(by_part["train"])
    for part, other in (("train", "val"), ("val", "train")):
        alone = [name for name in by_part[part] if name not in by_part[other]]
        if alone:
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            raise DataError(
                f"{root}: classes {', '.join(alone[:3])}{more} are in {part} but not in {other}; "
                "both must have a folder for every class"
            )
    paths, labels = [], []
    for part, names in by_part.items():
        for label, name in enumerate(classes):
            paths += [f"{part}{os.sep}{name}{os.sep}{file}" for file in names[name]]
            labels.append(np.full(len(names[name]), label, np.int32))
    num_val = sum(len(files) for files in by_part["val"].values())
    return ImageFiles(root, tuple(paths), np.concatenate(labels), classes, num_val)


def _names_by_class(folder: Path) -> dict[str, list[str]]:
    with explained(folder):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; images must be in train/<class>/ and val/<class>/")
        with os.scandir(folder) as entries:
            classes = sorted(entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))
        if not classes:
            raise DataError(f"{folder}: no class folders; images must be in train/<class>/ and val/<class>/")
        names = {}
        for name in classes:
            with os.scandir(folder / name) as entries:  # a Path for each of a million would be slow
                names[name] = sorted(entry.name for entry in entries if names_image(entry.name) and entry.is_file())
            if not names[name]:
                raise DataError(f"{folder / name}: no images ({', '.join(SUFFIXES)}); fill or delete this folder")
    return names


def unpacked(archive: Path, cache: Path) -> Path:
    """Unpacks a tar archive into the cache, unless already done, and returns the folder with ``train`` and ``val``.

    The archive is unpacked to a temporary folder and renamed when complete, so an interruption leaves no partial data
    set. Leftovers of a killed process are deleted by the next one that unpacks into this cache. Among several
    processes, one unpacks and the others wait. Files that would be written outside of the folder are refused. Files are
    written in pieces: memory use is a few MiB, plus about a kilobyte per file of the archive.

    Args:
        archive: a tar archive, plain or compressed by gzip, bzip2 or xz, with ``train`` and ``val`` at its top level or
            in a folder there.
        cache: folder to unpack to; created if necessary.

    Raises:
        DataError: if the archive is damaged or unsafe, has no ``train`` and ``val`` or more than one of them, or the
            cache cannot be written.
    """
    with explained(archive):
        status = archive.stat()
        # Another archive of the same name is unpacked anew.
        target = cache / f"{archive.name.split('.')[0][:100]}-{status.st_size:x}-{status.st_mtime_ns:x}"
        if not target.is_dir():
            _unpack(archive, target)
    return _with_train_and_val(target, archive)


def _unpack(archive: Path, target: Path) -> None:
    try:
        with written_aside(target.parent, "unpacking-") as aside:
            if not target.is_dir():  # unless another process was first
                content = aside / "content"
                with opened_tar(archive) as file:
                    # Python has filters since 3.11.4.
                    safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {"members": _inside(file)}
                    file.extractall(content, **safely)
                _with_train_and_val(content, archive)
                content.rename(target)
    except OSError as error:
        if error.errno is None or str(error.filename) == str(archive):  # damaged, or not to be opened
            raise
        remedy = "free some space, or set XDG_CACHE_HOME to a writable folder"
        if error.errno == errno.ENAMETOOLONG:
            remedy = "give its files shorter names"
        raise DataError(f"{archive}: cannot be unpacked into {target.parent} ({error.strerror}); {remedy}") from error


def _inside(archive: Iterable[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    """The files and folders of an archive, with usual rights; others, and those outside, are an error."""
    for member in archive:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise tarfile.ReadError(f"{member.name!r} is no file or folder inside of the archive")
        member.mode = 0o755 if member.isdir() else 0o644
        yield member


def _with_train_and_val(folder: Path, archive: Path) -> Path:
    candidates = [folder, *sorted(path for path in folder.iterdir() if not is_hidden(path.name))]
    found = [path for path in candidates if (path / "train").is_dir() and (path / "val").is_dir()]
    if not found:
        raise DataError(f"{archive}: no folders train and val at its top level or in a folder there")
    if len(found) > 1:
        places = " and ".join(path.relative_to(folder).as_posix() for path in found)
        raise DataError(f"{archive}: there are folders train and val in {places}; keep only one of them")
    return found[0]
