"""Image files -> bytes of one size. Run as a program, it is a worker of ``ImageReader``.

It imports nothing of this package, so that a worker starts in a fifth of a second.
"""

import contextlib
import os
import pickle
import random
import signal
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from math import exp, log, sqrt

import numpy as np
from PIL import Image

AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
TRIES = 10
# Evaluation sees the middle 224 of 256 pixels.
SHORTER_SIDE = 256 / 224
# Of more than 8 bits per channel: conversion to bytes would clip them.
DEEP = ("I", "F")


class UnreadableImage(Exception):
    """An image that cannot be read; the message says why."""


def decode_batch(paths: Sequence[str], seeds: Sequence[int] | None, size: int) -> np.ndarray:
    """Images of one size, uint8 ``[images, size, size, 3]``.

    Args:
        paths: of the files.
        seeds: one for each image, for ``training_view``; ``None`` gives ``evaluation_view``.
        size: height and width, in pixels.

    Raises:
        UnreadableImage: naming the file.
    """
    images = np.empty((len(paths), size, size, 3), np.uint8)
    for i, path in enumerate(paths):
        image = read_rgb(path)
        view = evaluation_view(image, size) if seeds is None else training_view(image, seeds[i], size)
        images[i] = np.asarray(view)
    return images


def read_rgb(path: str) -> Image.Image:
    """An image file as RGB, whatever it holds: greyscale, CMYK, a palette; transparency is dropped."""
    try:
        # Pillow warns of images of suspicious size; of broken ones it warns and then raises.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            if image.mode.startswith(DEEP):
                raise UnreadableImage(f"{path}: more than 8 bits per channel ({image.mode}); convert it to 8 bits")
            if image.mode == "P":
                # Pillow wants the transparency of a palette to be seen before it is dropped.
                image = image.convert("RGBA")
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UnreadableImage(
            f"{path}: no image, or a damaged one ({reason}); replace the file, or delete it and list the files again"
        ) from error


def evaluation_view(image: Image.Image, size: int) -> Image.Image:
    """The middle ``size x size`` pixels, after the shorter side has become ``round(size 256 / 224)``."""
    width, height = image.size
    scale = round(size * SHORTER_SIDE) / min(width, height)
    width, height = round(width * scale), round(height * scale)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return resized.crop((left, top, left + size, top + size))


def training_view(image: Image.Image, seed: int, size: int) -> Image.Image:
    """A random window, resized to ``size x size``, and its mirror image with probability 1/2.

    The window's share of the area is uniform in [0.08, 1], its aspect ratio log-uniform in [3/4, 4/3] and its
    position uniform. If in ten tries no window fits into the image, it is ``evaluation_view``.

    Args:
        image: RGB.
        seed: decides window and flip; nothing else does.
        size: of the result, in pixels.

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

    ``draw`` gives uniform numbers in [0, 1).
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
    """Decodes batches until its input ends: reads pickled arguments of ``decode_batch``, writes arrays or messages."""
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
