"""Files of data sets, written as their authors write them."""

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# As it is outside of tests, which look elsewhere.
REAL = os.environ.get("WIDEBASIN_DATA")
needs_data = pytest.mark.skipif(REAL is None, reason="WIDEBASIN_DATA does not name a folder of data sets")
IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    """An array in the idx format."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, IDX_CODES[array.dtype.str[1:]], array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, images, labels, test_images, test_labels, gzipped=True):
    """The four files."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "train-images-idx3-ubyte": images,
        "train-labels-idx1-ubyte": labels,
        "t10k-images-idx3-ubyte": test_images,
        "t10k-labels-idx1-ubyte": test_labels,
    }
    for name, array in arrays.items():
        content = idx_bytes(array)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if gzipped else (folder / name).write_bytes(content)


def planes(images):
    """``[n, 3072]`` from ``[n, 32, 32, 3]``: red, green, blue."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def batches(names, images, labels, test_images, test_labels):
    """Names, images and labels of every batch of a CIFAR data set."""
    train, test = names
    yield from zip(train, np.split(images, len(train)), np.split(labels, len(train)), strict=True)
    yield test[0], test_images, test_labels


def write_binary(kind, folder, *arrays):
    """The binary batches."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, images, labels in batches(kind.binary_batches, *arrays):
        head = np.zeros((len(images), kind.label_bytes), np.uint8)
        head[:, -1] = labels
        (folder / name).write_bytes(np.concatenate([head, planes(images)], 1).tobytes())
    return folder


def encoded(image, form="PNG", **options):
    """An image as a file of some format; ``image`` is an array or an image of Pillow's."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, form, **options)
    return file.getvalue()


def with_empty_profile(png):
    """A PNG with an empty chunk iCCP before its end: Pillow raises IndexError."""
    end = png.rindex(b"IEND") - 4
    return png[:end] + struct.pack(">I4sI", 0, b"iCCP", zlib.crc32(b"iCCP")) + png[end:]


def write_class_folders(folder, classes, images, labels, test_images, test_labels, form="PNG", **options):
    """A folder per class, ``train/<class>/0000.png`` and so on."""
    suffix = "jpg" if form == "JPEG" else "png"
    for part, some, theirs in (("train", images, labels), ("test", test_images, test_labels)):
        for label, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(some[theirs == label]):
                (folder / part / name / f"{number:04d}.{suffix}").write_bytes(encoded(image, form, **options))
    return folder


def write_tar(path, folder, inside="", mode="w:gz", **options):
    """An archive of a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, **options) as archive:
        archive.add(folder, arcname=inside or ".")
    return path


def zipped_glue(**changes):
    """The archive SST-2.zip with an example in each part, that to test on without its label."""
    texts = {
        "train": "sentence\tlabel\na good film \t1\n",
        "dev": "sentence\tlabel\na bad film \t0\n",
        "test": "index\tsentence\n0\tfine .\n",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, text in (texts | changes).items():
            if text is not None:
                archive.writestr(f"SST-2/{part}.tsv", text)
    return file.getvalue()


def safetensors_bytes(tensors, metadata=None):
    """A safetensors file of ``{name: (kind, array)}``."""
    header, data = ({} if metadata is None else {"__metadata__": metadata}), b""
    for name, (kind, array) in tensors.items():
        content = array.tobytes()
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def real(name):
    """A folder of the real data."""
    folder = Path(REAL) / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not in WIDEBASIN_DATA")
    return folder


def real_file(name):
    """A file of the real data."""
    path = Path(REAL) / name
    if not path.is_file():
        pytest.skip(f"{name} is not in WIDEBASIN_DATA")
    return path
