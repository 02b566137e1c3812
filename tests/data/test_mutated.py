"""Damaged and hostile files in every reader: each is read or refused by its name, soon and in little memory.

Mutations are drawn from their number alone, so that one that fails can be made again: ``READERS[name]`` and its number.
Many of them, with a table of what came of them, and so long as no other tests add to the memory of the process:

    WIDEBASIN_MUTATIONS=20000 pytest tests/data/test_mutated.py -m slow -s
"""

import bz2
import contextlib
import dataclasses
import gzip
import io
import lzma
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tarfile
import warnings
import zipfile
import zlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from data.files import encoded, idx_bytes, safetensors_bytes, zipped_glue
from data.image_folders import pixels

from widebasin.data import (
    DataError,
    ImageReader,
    Vocabulary,
    arrays,
    embeddings,
    list_image_files,
    read_conllu,
    table,
)
from widebasin.data.cifar import CIFAR10, read_cifar
from widebasin.data.class_folders import decode_image, fingerprint, read_class_folders
from widebasin.data.decoding import UnreadableImage, decode_batch
from widebasin.data.idx import first_values, read_idx
from widebasin.data.image_files import unpacked
from widebasin.data.mnist import MNIST, read_idx_images
from widebasin.data.npz import read_npz
from widebasin.data.places import Found
from widebasin.data.sst2 import phrases_in
from widebasin.sweep import UsageError, read_spec
from widebasin.sweep.spec_file import parse_resolved

QUICK, MANY = 200, int(os.environ.get("WIDEBASIN_MUTATIONS", "2000"))
# Seconds until one file counts as a hang, and MiB that all files of a reader may add to the peak of the process.
HANG, MEMORY = 20, 256
SIZE = (6, 5)
PEOPLE = pd.DataFrame({"age": [1.5, 2, 4] * 9, "city": ["Bern", "Rome", "Oslo"] * 9, "label": [0, 1, 1] * 9})
TABLES = {"csv": PEOPLE.to_csv(index=False).encode(), "parquet": PEOPLE.to_parquet()}
SMALL_MNIST = dataclasses.replace(MNIST, train_examples=12, test_examples=5)
SMALL_CIFAR = dataclasses.replace(CIFAR10, examples=(10, 10))
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, *SIZE, 3), np.uint8)
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
NAMES = (
    ".ipynb_checkpoints",
    ".1.png",
    "train",
    "val",
    "test",
    "1.PNG",
    "folder.png",
    "é.jpeg",
    "\udcff.png",
    "x" * 251 + ".png",
)
TOKENS = (
    *(
        "nan",
        "inf",
        "1e400",
        "0x" + "f" * 5000,
        "9" * 5000,
        "-0",
        "1979-05-27",
        "1979-13-45",
        "true",
        '"\\u0000"',
        "'x'",
    ),
    *(
        "[",
        "]",
        "{a=1}",
        "[[",
        "=",
        ".",
        '"""',
        "\n",
        "\x00",
        "\ufeff",
        "widths",
        "rhos",
        "seeds",
        "format",
        "workload",
    ),
)


class Hang(BaseException):
    """Raised into a reader that does not come back."""


# What is damaged ---------------------------------------------------------------------------------------------------


def bytes_mutated(content, draw, other=b""):
    """A file with some of its bytes changed, moved, repeated, left out or cut off."""
    content = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        place = draw.randrange(len(content) + 1)
        # Headers are at the beginning, directories at the end.
        place = draw.choice((place, place % 64, max(0, len(content) - place % 96)))
        length = draw.choice((1, 2, 4, 8, 64, 512))
        kind = draw.randrange(8)
        if kind == 0 and place < len(content):
            content[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[place : place + 1] = draw.randbytes(1)
        elif kind == 2:
            number = draw.choice(NUMBERS) & ((1 << 8 * min(length, 8)) - 1)
            order = draw.choice(("big", "little"))
            content[place : place + min(length, 8)] = number.to_bytes(min(length, 8), order)
        elif kind == 3:
            del content[place : place + length]
        elif kind == 4:
            content[place:place] = draw.choice((draw.randbytes(length), bytes(length), b"9" * length))
        elif kind == 5:
            content[place:place] = content[place : place + length] * draw.choice((1, 3, 30))
        elif kind == 6 and other:
            start = draw.randrange(len(other))
            content[place : place + length] = other[start : start + length]
        elif kind == 7 and draw.random() < 0.5:
            del content[place:]
    return bytes(content)


def png_mutated(content, draw):
    """A PNG with chunks changed, whose checksums are right."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += length + 12
    for _ in range(draw.choice((1, 1, 2, 4))):
        number = draw.randrange(len(chunks))
        kind, data = chunks[number]
        what = draw.randrange(5)
        if what == 0:
            chunks[number] = kind, bytes_mutated(data, draw)
        elif what == 1:
            kinds = (b"iCCP", b"zTXt", b"iTXt", b"tRNS", b"PLTE", b"eXIf", b"gAMA", b"acTL", b"fcTL", b"fdAT", b"IHDR")
            bomb = zlib.compress(bytes(3_000_000), 1)
            data = draw.choice((b"", b"name\0\0" + bomb, draw.randbytes(9), struct.pack(">II", 1, 0), bomb))
            chunks.insert(number, (draw.choice(kinds), data))
        elif what == 2 and len(chunks) > 1:
            del chunks[number]
        elif what == 3:
            chunks.insert(number, draw.choice(chunks))
        elif what == 4 and kind == b"IHDR" and len(data) == 13:
            sizes = [draw.choice((0, 1, 5, 6, 3_000, 70_000, 20_000_000, 2**31 - 1)) for _ in range(2)]
            rest = bytes(draw.choice((0, 1, 2, 3, 4, 6, 8, 16)) for _ in range(5))
            chunks[number] = kind, struct.pack(">II", *sizes) + draw.choice((data[8:], rest))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return content[:8] + b"".join(parts)


def image_mutated(content, draw):
    """A PNG or JPEG, perhaps one of another format."""
    kind = draw.randrange(10)
    if kind == 0:
        return encoded(pixels(1, 5, 6), draw.choice(("BMP", "GIF", "TIFF", "WEBP", "PPM", "ICO")))
    if kind < 6 and content.startswith(b"\x89PNG"):
        return png_mutated(content, draw)
    return bytes_mutated(content, draw, IMAGE_FILES[0])


def tar_mutated(content, draw):
    """An archive with headers changed, whose checksums are right, or with anything changed."""
    if draw.random() < 0.3:
        return bytes_mutated(content, draw)
    content = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        headers = [
            place for place in range(0, len(content) - 511, 512) if content[place + 257 : place + 262] == b"ustar"
        ]
        if not headers:
            break
        header = draw.choice(headers)
        start, length = draw.choice(
            ((0, 100), (100, 8), (124, 12), (124, 12), (136, 12), (156, 1), (156, 1), (157, 100), (345, 155))
        )
        number = draw.choice(NUMBERS)
        values = (
            draw.randbytes(length),
            bytes(length),
            b"%0*o" % (length - 1, number & (8 ** (length - 1) - 1))
            if length > 1
            else draw.choice(b"01234567LKSNxgXV"),
            b"\x80" + (number % (1 << 88)).to_bytes(11, "big")
            if length == 12
            else draw.choice((b"/", b"..", b".", b"train/")),
            b"\xff" * length,
        )
        value = draw.choice(values)
        value = bytes([value]) if isinstance(value, int) else value
        content[header + start : header + start + length] = value[:length].ljust(length, b"\0")
        block = content[header : header + 512]
        block[148:156] = b" " * 8
        content[header + 148 : header + 156] = b"%06o\0 " % sum(block)
    return bytes(content)


def compressed(content, draw):
    """As it is or compressed, and then perhaps damaged."""
    ways = (
        bytes,
        lambda c: gzip.compress(c, 1, mtime=0),
        lambda c: lzma.compress(c, preset=0),
        lambda c: bz2.compress(c, 1),
    )
    content = draw.choice(ways)(content)
    return bytes_mutated(content, draw) if draw.random() < 0.2 else content


def npz_mutated(content, draw):
    """An archive with a member changed, or with anything changed."""
    if draw.random() < 0.4:
        return bytes_mutated(content, draw)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = draw.choice(list(members))
    what = draw.randrange(6)
    if what < 3:
        members[name] = bytes_mutated(members[name], draw, members[draw.choice(list(members))])
    elif what == 3:
        shape = tuple(draw.choice((0, 1, 6, 2**20, 2**40, 2**62, 2**70, -1)) for _ in range(draw.randrange(4)))
        descr = draw.choice(
            ("<f8", "|u1", "|V0", "<U0", "|O", "<M8[D]", "<c8", "|b1", ">i2", "<f2", "nonsense", "<U99999999")
        )
        head = repr({"descr": descr, "fortran_order": draw.random() < 0.5, "shape": shape}).encode().ljust(118)
        members[name] = b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + members[name][128:]
    elif what == 4:
        members[draw.choice((*ARRAYS[0], "more", "../x", "", "a" * 300))] = members.pop(name)
    else:
        members[name] = draw.choice((b"", b"text", draw.randbytes(300), bytes(3_000_000)))
    out = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(out, "w", draw.choice((0, 8, 8, 12, 14))) as file:
        for name, member in members.items():
            file.writestr(zipfile.ZipInfo(name), member, compress_type=draw.choice((0, 8)))
    return out.getvalue()


def toml_mutated(content, draw):
    """A spec with words put in or in the place of others, or with any bytes changed."""
    if draw.random() < 0.4:
        return bytes_mutated(content, draw)
    words = content.decode().split(" ")
    for _ in range(draw.choice((1, 2, 4))):
        place, token = draw.randrange(len(words)), draw.choice(TOKENS)
        token *= draw.choice((1, 1, 1, 3, 2_000 if len(token) < 20 else 1))
        words[place : place + draw.randrange(2)] = [token]
    text = " ".join(words)
    return text.encode(draw.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1")), "replace")


def folders_mutated(root, draw):
    """Some files and folders below a folder changed for others, or renamed."""
    for _ in range(draw.choice((1, 2, 4))):
        paths = sorted(root.rglob("*"), key=os.fsencode)
        path = draw.choice(paths) if paths else root / "train"
        target = path.with_name(draw.choice(NAMES)) if draw.random() < 0.5 else path
        kind = draw.randrange(7)
        if kind == 0 and path.exists():
            with contextlib.suppress(OSError):
                path.rename(target)
            continue
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        target.unlink(missing_ok=True)
        if kind == 1:
            target.mkdir(parents=True)
        elif kind == 2:
            target.symlink_to(draw.choice((root, root / "train", root / "nowhere", "/dev/zero", target)))
        elif kind == 3:
            os.mkfifo(target)
        elif kind == 4:
            target.write_bytes(image_mutated(draw.choice(IMAGE_FILES), draw))
        elif kind == 5:
            target.write_bytes(draw.choice(IMAGE_FILES))
        elif kind == 6 and target.parent != root:
            with contextlib.suppress(OSError):
                shutil.copytree(root, root / "backup", symlinks=True)


# Sound files -------------------------------------------------------------------------------------------------------


def npz(save=np.savez, **given):
    file = io.BytesIO()
    save(file, **given)
    return file.getvalue()


def tar(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def image_names(parts, count):
    """The images of a folder per class, with long and odd names among them."""
    names = (f"{part}/{c}/{k}" for part in parts for c in ("ant", "bee", "x" * 120) for k in range(count))
    return {f"{name}.png": encoded(IMAGES[k % 12]) for k, name in enumerate(names)}


ARRAYS = (
    {"inputs": IMAGES[:6], "targets": np.arange(6) % 3},
    {
        "inputs": IMAGES[:6] / 255,
        "targets": np.arange(6.0),
        "test_inputs": IMAGES[6:] / 255,
        "test_targets": np.ones(6),
    },
    {"inputs": IMAGES[:6], "targets": np.array(["a", "b"] * 3), "num_classes": np.asarray(4)},
)
NPZ_FILES = tuple(npz(save, **given) for given in ARRAYS for save in (np.savez, np.savez_compressed))
IDX_FILES = (idx_bytes(IMAGES), idx_bytes(np.arange(24.0).reshape(2, 3, 4)), idx_bytes(np.arange(9, dtype=np.int16)))
MNIST_FILES = {
    "train-images-idx3-ubyte": idx_bytes(RANDOM.integers(0, 256, (12, 28, 28), np.uint8)),
    "train-labels-idx1-ubyte": idx_bytes((np.arange(12) % 10).astype(np.uint8)),
    "t10k-images-idx3-ubyte": idx_bytes(RANDOM.integers(0, 256, (5, 28, 28), np.uint8)),
    "t10k-labels-idx1-ubyte": idx_bytes(np.arange(5, dtype=np.uint8)),
}
IMAGE_FILES = (
    encoded(IMAGES[0]),
    encoded(IMAGES[0], "JPEG", quality=90),
    encoded(pixels(1, *SIZE), "JPEG", quality=40, progressive=True),
    encoded(IMAGES[1, ..., 0]),
    encoded(IMAGES[1, ..., 0].astype(np.uint16)),
    encoded(np.concatenate([IMAGES[1], IMAGES[2, ..., :1]], -1)),
)
CIFAR = tar(
    {
        f"cifar-10-batches-bin/{name}": b"".join(bytes([label]) + RANDOM.bytes(3072) for label in range(count))
        for names, count in zip(CIFAR10.binary_batches, (2, 10), strict=True)
        for name in names
    }
)
CLASSES, PHOTOGRAPHS = (tar(image_names(parts, 2)) for parts in (("train", "test"), ("train", "val")))
SPEC = (
    b'format = 2 \nworkload = "digits-mlp" \nwidths = [ 8 , 16 ] \nrhos = [ 0.05 , 1 ] \nmethods = [ "sgd" , "sam" ] \n'
)
CONLLU = b"""\
# sent_id = 1
1-2\tde\t_\t_\t_\t_\t_\t_\t_\t_
1\td\t_\tX\tA\t_\t2\tdep\t_\t_
2\t\xc3\xa9\t_\tY\t_\tB=C\t0\troot\t_\t_
2.1\te\t_\t_\t_\t_\t_\t_\t_\t_

"""
CONLLU *= 4
PHRASES = "label\tsentence\n1\ta good film \n0\tcrème brûlée\n".encode()
LABELLED = "1 a good film\n0 crème brûlée\n".encode()
GLUE_ARCHIVE = zipped_glue()
EMBEDDINGS = safetensors_bytes({"weight": ("F16", np.ones((3, 4), "<f2")), "bias": ("F32", np.ones(2, "<f4"))})
TOKENIZER = b'{"model": {"vocab": {"good": 0, "bad": 1, "film": 2}}}'
SPEC += b'seeds = 2 \nlabel-noise = 0.3 \nepochs = 5 \nschedule = "step" \n'


# Readers of them ---------------------------------------------------------------------------------------------------


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


def own_arrays(folder, draw):
    arrays(written(folder, "mutant.npz", npz_mutated(draw.choice(NPZ_FILES), draw)), draw.choice((None, "regression")))


def any_arrays(folder, draw):
    read_npz(written(folder, "mutant.npz", npz_mutated(draw.choice(NPZ_FILES), draw)))


def idx(folder, draw):
    path = written(folder, "mutant", compressed(bytes_mutated(draw.choice(IDX_FILES), draw), draw))
    draw.choice((read_idx, lambda path: first_values(path, 10), lambda path: read_idx(path, IMAGES.shape)))(path)


def mnist(folder, draw):
    name = draw.choice(list(MNIST_FILES))
    for other, content in MNIST_FILES.items():
        written(folder, other, compressed(bytes_mutated(content, draw), draw) if other == name else content)
    read_idx_images.__wrapped__(SMALL_MNIST, folder)


def cifar_batches(folder, draw):
    path = written(folder, "mutant.tar.gz", compressed(tar_mutated(CIFAR, draw), draw))
    read_cifar.__wrapped__(SMALL_CIFAR, Found(path, "binary batches"))


def class_archive(folder, draw):
    read_class_folders(written(folder, "mutant.tar", compressed(tar_mutated(CLASSES, draw), draw)), SIZE, 3)


def class_folders(folder, draw):
    for name, content in image_names(("train", "test"), 1).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    folders_mutated(folder, draw)
    fingerprint(folder)
    read_class_folders(folder, SIZE, 3)


def image(folder, draw):
    decode_image(image_mutated(draw.choice(IMAGE_FILES), draw), "mutant", SIZE)


def photograph(folder, draw):
    path = written(folder, "mutant.png", image_mutated(draw.choice(IMAGE_FILES), draw))
    decode_batch([str(path)], draw.choice((None, [draw.randrange(99)])), 8)


def photographs(folder, draw):
    for name, content in image_names(("train", "val"), 1).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    folders_mutated(folder, draw)
    files = list_image_files(folder)
    files.sizes()
    with ImageReader(files, workers=0, size=8) as reader:
        list(reader.batches(np.arange(len(files))[None]))


def photograph_archive(folder, draw):
    path = written(folder, "mutant.tar", compressed(tar_mutated(PHOTOGRAPHS, draw), draw))
    list_image_files(unpacked(path, folder / "cache"))


def spec(folder, draw):
    content = toml_mutated(SPEC, draw)
    with contextlib.suppress(ValueError):  # as it says
        parse_resolved(content.decode(errors="replace"), ())
    read_spec(written(folder, "mutant.toml", content))


def tables(folder, draw):
    kind = draw.choice(list(TABLES))
    path = written(folder, f"mutant.{kind}", bytes_mutated(TABLES[kind], draw))
    try:
        table(path, draw.choice((None, "label", "age")))
    except ValueError as error:
        if isinstance(error, DataError) or "column" not in str(error):
            raise
        raise UsageError("workload", str(path), str(error)) from error  # as its workload does


def treebanks(folder, draw):
    content = compressed(bytes_mutated(CONLLU, draw, CONLLU[::-1]), draw)
    read_conllu(written(folder, "mutant.conllu", content), draw.choice(("upos", "xpos", "deprel", "feats")))


def phrases(folder, draw):
    place = folder / "SST-2"
    place.mkdir()
    form = draw.choice(("tsv files", "stsa files", "archive of GLUE"))
    for part in ("train", "dev", "test"):
        for name, content in ((f"{part}.tsv", PHRASES), (f"stsa.binary.{part}", LABELLED)):
            written(place, name, compressed(bytes_mutated(content, draw), draw) if draw.random() < 0.3 else content)
    written(place, "SST-2.zip", bytes_mutated(GLUE_ARCHIVE, draw))
    phrases_in(Found(place, form), 1)


def pretrained(folder, draw):
    beside = draw.choice((("mutant.txt", b"good\nbad\nfilm\n"), ("tokenizer.json", TOKENIZER)))
    mutated = draw.choice(((True, False), (False, True), (True, True)))
    for (name, content), one in zip((("mutant.safetensors", EMBEDDINGS), beside), mutated, strict=True):
        written(folder, name, bytes_mutated(content, draw) if one else content)
    embeddings(folder / "mutant.safetensors", Vocabulary(("good", "film", "none")))


READERS = {
    reader.__name__: reader
    for reader in (
        *(own_arrays, any_arrays, idx, mnist, cifar_batches, class_archive, class_folders, image, photograph),
        *(photographs, photograph_archive, spec, tables, treebanks, phrases, pretrained),
    )
}


def outcome(name, number, folder):
    """What becomes of one file: "read", "refused", or what is wrong."""
    place = folder / "mutants"
    place.mkdir()

    def hung(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, HANG)
    try:
        READERS[name](place, random.Random(f"{name} {number}"))
    except (DataError, UnreadableImage, UsageError) as error:
        text = str(error)
        text.encode()
        named = "mutant" in text or str(place) in text
        return "refused" if named else f"does not name the file: {text}"
    except Hang:
        return "hangs"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    else:
        return "read"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        shutil.rmtree(place)


def peak():
    """MiB of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@pytest.mark.parametrize("mutations", [QUICK, pytest.param(MANY, marks=pytest.mark.slow)], ids=["some", "many"])
def test_every_mutant_is_read_or_refused_by_name_soon_and_in_little_memory(tmp_path, mutations):
    wrong, rows = {}, []
    for place, name in enumerate(READERS):
        counts, before = Counter(), peak()
        for number in range(place, mutations, len(READERS)):
            what = outcome(name, number, tmp_path)
            counts[what if what in ("read", "refused") else "wrong"] += 1
            if what not in ("read", "refused"):
                wrong[f"{name} {number}"] = what
        grown = peak() - before
        came = "".join(f"{counts[what]:7} {what}" for what in ("read", "refused", "wrong"))
        rows.append(f"{name:20}{came}{grown:7.0f} MiB more")
        assert min(counts["read"], counts["refused"]) > 0 or mutations < 1000
        if grown > MEMORY:
            wrong[name] = f"{grown:.0f} MiB"
    print("", *rows, sep="\n")
    assert not wrong
