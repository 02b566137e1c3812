"""Small image files in class folders."""

import numpy as np
from PIL import Image


def pixels(seed, height=40, width=50):
    """A smooth image in bytes, so that compression changes little: a few waves in each channel."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 20
    waves = [
        np.sin(random.uniform(-2, 2) * rows + random.uniform(-2, 2) * columns + random.uniform(0, 6)) for _ in range(3)
    ]
    return np.uint8(127 + 120 * np.stack(waves, axis=-1))


def write_folders(root, train=4, val=2, classes=("cat", "dog"), suffix=".JPEG"):
    """Images of odd sizes in ``train`` and ``val``; returns the root."""
    for part, count in (("train", train), ("val", val)):
        for label, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                seed = 100 * label + 10 * i + (part == "val")
                image = Image.fromarray(pixels(seed, height=40 + 7 * i, width=50 + 3 * label))
                image.save(root / part / name / f"{part}{i}{suffix}")
    return root
