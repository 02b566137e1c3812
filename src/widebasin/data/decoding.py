"""Decodes image files to arrays of one size. Run as a program, it is a worker of ``ImageReader``.

This module imports nothing from this package, so that a worker starts in a fifth of a second.
"""

import contextlib
import io
import os
import pickle
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from math import exp, inf, log, sqrt

import numpy as np
from PIL import Image, UnidentifiedImageError

AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
TRIES = 10
# Evaluation sees the middle 224 of 256 pixels.
SHORTER_SIDE = 256 / 224
# Of more than 8 bits per channel: conversion to bytes would clip them.
DEEP = ("I", "F")
# No other format of Pillow's, some of which run programs.
FORMATS = ("JPEG", "PNG")
# Pixels along a side, which is what a JPEG can have.
LONGEST = 65_535
# Of the longer side of an image to the shorter one: what is beyond would not be seen, but resized.
MOST_OBLONG = 8


class UnreadableImage(Exception):
    """An image that cannot be read; the message says why."""


def decode_batch(paths: Sequence[str], seeds: Sequence[int] | None, size: int) -> np.ndarray:
    """Decodes images to one size, uint8 ``[images, size, size, 3]``.

    Args:
        paths: paths of the files.
        seeds: one seed per image, for ``training_view``; ``None`` gives ``evaluation_view``.
        size: height and width, in pixels.

    Raises:
        UnreadableImage: with the name of the file.
    """
    images = np.empty((len(paths), size, size, 3), np.uint8)
    for i, path in enumerate(paths):
        with named(path, "; replace the file, or delete it and list the files again"):
            image = read_rgb(path)
            view = evaluation_view(image, size) if seeds is None else training_view(image, seeds[i], size)
            images[i] = np.asarray(view)
    return images


@contextlib.contextmanager
def named(file: str, remedy: str = "") -> Iterator[None]:
    """Turns any error of reading an image into ``UnreadableImage`` with the name of its file.

    For a damaged image, Pillow may raise errors of any kind, including IndexError and RuntimeError.
    """
    try:
        yield
    except UnreadableImage:
        raise
    except MemoryError as error:
        raise UnreadableImage(f"{file}: too large for the memory of this machine{remedy}") from error
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        if isinstance(error, UnidentifiedImageError):
            reason = f"neither {' nor '.join(FORMATS)}"
        raise UnreadableImage(
            f"{file}: not an image, or damaged ({str(reason) or type(error).__name__}){remedy}"
        ) from error


@contextlib.contextmanager
def opened_image(file: str | io.BytesIO) -> Iterator[Image.Image]:
    """Opens a JPEG or PNG without reading its pixels. The image is not rotated: an EXIF orientation is ignored.

    Raises:
        ValueError: if it has more than 89 million pixels, ``PIL.Image.MAX_IMAGE_PIXELS``, or 65,535 along a side.
        Exception: of any type, if it is damaged.
    """
    # Of broken images Pillow warns and then raises.
    with warnings.catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as image:
        if max(image.size) > LONGEST or image.width * image.height > (Image.MAX_IMAGE_PIXELS or inf):
            raise ValueError(f"{image.width:,} x {image.height:,} pixels are too many; make the image smaller")
        yield image


def read_rgb(path: str) -> Image.Image:
    """Reads an image file as RGB; greyscale, CMYK and palette images are converted, transparency is dropped.

    Reading takes at most 12 bytes of memory per pixel.

    Raises:
        UnreadableImage: if it is greyscale with more than 8 bits.
        Exception: as ``opened_image``.
    """
    with opened_image(path) as image:
        if image.mode.startswith(DEEP):
            raise UnreadableImage(f"{path}: more than 8 bits per channel ({image.mode}); convert it to 8 bits")
        if image.mode == "P":
            # Pillow wants the transparency of a palette to be seen before it is dropped.
            image = image.convert("RGBA")
        return image.convert("RGB")


def evaluation_view(image: Image.Image, size: int) -> Image.Image:
    """The central ``size x size`` pixels, after the shorter side is resized to ``round(size 256 / 224)``.

    If one side is more than ``MOST_OBLONG`` times the other, the ends are cut off first, so that no image takes more
    than ``8 (size 256 / 224)^2`` pixels of memory.
    """
    width, height = image.size
    longest = MOST_OBLONG * min(width, height)
    if max(width, height) > longest:
        # Cut alike on both sides, to the pixel.
        width, height = (side - 2 * max(0, (side - longest) // 2) for side in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    scale = round(size * SHORTER_SIDE) / min(width, height)
    width, height = round(width * scale), round(height * scale)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return resized.crop((left, top, left + size, top + size))


def training_view(image: Image.Image, seed: int, size: int) -> Image.Image:
    """A random window, resized to ``size x size``, and its mirror image with probability 1/2.

    The window's fraction of the area is uniform in [0.08, 1], its aspect ratio log-uniform in [3/4, 4/3] and its
    position uniform. If in ten tries no window fits into the image, it is ``evaluation_view``.

    Args:
        image: an RGB image.
        seed: the only source of randomness for window and flip.
        size: height and width of the result, in pixels.

    Source: Szegedy et al. 2015 ("Going deeper with convolutions", section 6).
    """
    # Of all generators, this method of this one is promised to stay as it is.
    draw = random.Random(seed).random
    flipped = draw() < 0.5
    window = random_window(image.size, draw)
    if window is None:
        view = evaluation_view(image, size)
    else:
        # Cropped first: a resize of a part of the image would see beyond the window's edge.
        view = image.crop(window).resize((size, size), Image.Resampling.BICUBIC)
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flipped else view


def random_window(image_size: tuple[int, int], draw: Callable[[], float]) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of a window in an image of this width and height; ``None`` if no try fits.

    ``draw`` returns uniform random numbers in [0, 1).
    """
    full_width, full_height = image_size
    for _ in range(TRIES):
        area = full_width * full_height * (AREA[0] + (AREA[1] - AREA[0]) * draw())
        aspect = exp(log(ASPECT[0]) + (log(ASPECT[1]) - log(ASPECT[0])) * draw())
        width, height = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 1 <= width <= full_width and 1 <= height <= full_height:
            left, top = int(draw() * (full_width - width + 1)), int(draw() * (full_height - height + 1))
            return left, top, left + width, top + height
    return None


def serve() -> None:
    """Decodes batches until the input ends: reads pickled arguments of ``decode_batch``, writes arrays or messages."""
    # An interrupt of the terminal is for the process that reads; when that ends, so does the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            arguments = pickle.load(requests)
            try:
                answer: np.ndarray | str = decode_batch(*arguments)
            except UnreadableImage as error:
                answer = str(error)
            pickle.dump(answer, answers, protocol=5)
            answers.flush()


if __name__ == "__main__":
    serve()
