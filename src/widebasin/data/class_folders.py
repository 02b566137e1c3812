"""Images in a folder per class, ``train/<class>/<image>`` and ``test/<class>/<image>``, on disk or in a tar archive."""

import functools
import hashlib
import io
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from widebasin.data.archives import explained, folder_files, walk_files
from widebasin.data.decoding import UnreadableImage, named, opened_image
from widebasin.data.errors import DataError
from widebasin.data.image_names import names_class_image
from widebasin.data.npz import read_npz

PARTS = ("train", "test")
# Bytes of a file: an image of some dozen pixels has a few thousand, and perhaps a profile of colours.
LARGEST = 1 << 24
# Position of the bits per channel in a PNG file.
PNG_DEPTH = 24


@dataclass(frozen=True)
class ClassFolders:
    """Decoded images.

    Attributes:
        images: bytes ``[images, height, width, 3]`` by part ("train", "test").
        labels: of the images, by part; classes are numbered in the order of their names.
        classes: names of the classes.
        loss: the lossy compression of the images, such as "JPEG q75"; empty if none.
    """

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    classes: tuple[str, ...]
    loss: str


def read_class_folders(
    source: Path,
    size: tuple[int, int],
    num_classes: int,
    labels_file: Path | None = None,
    most: tuple[int, int] | None = None,
) -> ClassFolders:
    """Decodes all images.

    Images are ordered by class and file name, or as in a file with the labels in their original order, if there is one:
    the k-th occurrence of a class is the k-th file of its folder. File extensions may be in upper case; hidden files
    are skipped, and so are folders named like images. If an archive has a file twice, the last one counts. Uses at most
    four times the memory of the images, in addition to ``walk_files``.

    Args:
        source: folder or tar archive; ``train`` and ``test`` may be in a subfolder, but in one place only.
        size: height and width that every image must have.
        num_classes: required number of classes.
        labels_file: npz file with the labels in their original order, ``train`` and ``test``.
        most: maximum number of images in ``train`` and ``test``; more are refused before they are read.

    Raises:
        DataError: if a class folder is missing, an image is damaged, has another size, is partly transparent or has
            more than 8 bits per channel, or the numbers of files do not match the labels.
    """
    images: dict[tuple[str, str], dict[str, np.ndarray]] = defaultdict(dict)
    losses = set()
    there: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    place: tuple[str, ...] | None = None
    for parts, content in walk_files(source, _is_image, LARGEST):
        place = parts[:-3] if place is None else place
        if parts[:-3] != place:
            both = " and ".join("/".join((*some, parts[-3])) for some in (place, parts[:-3]))
            raise DataError(f"{source}: there are images in {both}; keep only one of them")
        image, loss = decode_image(content, f"{source}: {'/'.join(parts)}", size)
        images[parts[-3], parts[-2]][parts[-1]] = image
        there[parts[-3]].add(parts[-2:])
        if most is not None and len(there[parts[-3]]) > most[PARTS.index(parts[-3])]:
            raise DataError(f"{source}: more than {len(there[parts[-3]]) - 1:,} images in {parts[-3]}")
        losses.add(loss)
    classes = tuple(sorted({name for _, name in images}))
    for part in PARTS:
        absent = [name for name in classes if (part, name) not in images]
        if absent:
            raise DataError(f"{source}: no images in {' and '.join(f'{part}/{name}' for name in absent)}")
    if len(classes) != num_classes:
        raise DataError(f"{source}: {len(classes)} class folders in train and test, but {num_classes} are needed")
    stacks = {
        part: [np.stack([files[name] for name in sorted(files)]) for files in (images[part, c] for c in classes)]
        for part in PARTS
    }
    labels = {part: np.repeat(np.arange(num_classes), [len(stack) for stack in stacks[part]]) for part in PARTS}
    if labels_file is not None:
        labels = _original_order(labels_file, labels)
    ordered = {part: np.empty((len(labels[part]), *size, 3), np.uint8) for part in PARTS}
    for part in PARTS:
        for label, stack in enumerate(stacks[part]):
            ordered[part][labels[part] == label] = stack
    return ClassFolders(ordered, labels, classes, _loss(losses))


def fingerprint(source: Path, labels_file: Path | None = None) -> str:
    """A fingerprint of the image files, in hexadecimal digits.

    For an archive and the file of labels it uses the SHA-256 of the content, for a folder that of the names, sizes and
    modification times of all images.
    """
    digest = hashlib.sha256(b"widebasin class folders 1")
    with explained(source):
        if source.is_dir():
            for path in folder_files(source, _is_image):
                status = path.stat()
                digest.update(os.fsencode(path) + f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        else:
            digest.update(_sha256(source))
    if labels_file is not None:
        with explained(labels_file):
            digest.update(_sha256(labels_file))
    return digest.hexdigest()[:32]


def decode_image(content: bytes, source: str, size: tuple[int, int]) -> tuple[np.ndarray, str]:
    """The bytes ``[height, width, 3]`` of an image, and its lossy compression: "", or such as "JPEG q75".

    Greyscale, palette and other 8-bit images are converted to RGB; an alpha channel must be fully opaque.

    Raises:
        DataError: if it is damaged, has another size, is partly transparent or has more than 8 bits per channel.
    """
    try:
        with named(source), opened_image(io.BytesIO(content)) as image:
            if (image.height, image.width) != size:
                raise UnreadableImage(
                    f"{source}: {image.height} x {image.width} pixels, but {size[0]} x {size[1]} are needed"
                )
            if image.format == "PNG" and content[PNG_DEPTH] > 8:
                raise UnreadableImage(f"{source}: {content[PNG_DEPTH]} bits per channel; convert it to 8 bits")
            loss = "" if image.format == "PNG" else jpeg_quality(image.quantization.get(0, []))  # type: ignore[attr-defined]
            image.load()
            if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise UnreadableImage(f"{source}: partly transparent; add a background first")
            return np.asarray(image.convert("RGB")), loss
    except UnreadableImage as error:
        raise DataError(str(error)) from error


def jpeg_quality(luminance: list[int]) -> str:
    """ "JPEG q75" from the luminance quantization, if it matches a quality of libjpeg; else "JPEG"."""
    quality = _qualities().get(tuple(luminance))
    return "JPEG" if quality is None else f"JPEG q{quality}"


@functools.cache
def _qualities() -> dict[tuple[int, ...], int]:
    from PIL import Image

    tables = {}
    for quality in range(100, 0, -1):
        file = io.BytesIO()
        Image.new("L", (1, 1)).save(file, "JPEG", quality=quality)
        tables[tuple(Image.open(file).quantization[0])] = quality  # type: ignore[attr-defined]
    return tables


def _is_image(parts: tuple[str, ...]) -> bool:
    return names_class_image(parts, PARTS)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _loss(losses: set[str]) -> str:
    lossy = sorted(losses - {""})
    kind = lossy[0] if len(lossy) == 1 else "JPEG"
    return "" if not lossy else f"partly {kind}" if "" in losses else kind


def _original_order(path: Path, sorted_labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    labels = read_npz(path, PARTS)
    for part, there in sorted_labels.items():
        if part not in labels:
            raise DataError(f"{path}: the labels of {part} are missing")
        if labels[part].dtype.kind not in "iu" or not np.array_equal(np.sort(labels[part], axis=None), there):
            raise DataError(f"{path}: the numbers of labels per class in {part} do not match the images")
    return {part: labels[part].astype(int).ravel() for part in sorted_labels}
