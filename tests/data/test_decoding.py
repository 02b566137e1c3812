import math
import random

import numpy as np
import pytest
import scipy.stats
from data.files import encoded, with_empty_profile
from data.image_folders import pixels
from PIL import Image
from together import together

from widebasin.data.decoding import (
    UnreadableImage,
    decode_batch,
    evaluation_view,
    random_window,
    read_rgb,
    training_view,
)


def bicubic(size, new_size):
    """The matrix of an antialiased bicubic resize along one axis, a = -1/2, by its definition."""
    scale = size / new_size
    stretch = max(scale, 1.0)
    distance = np.abs((np.arange(size)[None] + 0.5) - (np.arange(new_size)[:, None] + 0.5) * scale) / stretch
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    return weights / weights.sum(1, keepdims=True)


def resized(image, height, width):
    """In double precision, from the definition; to bytes only at the end."""
    along_width = np.einsum("oi,hic->hoc", bicubic(image.shape[1], width), image.astype(float))
    return np.clip(np.einsum("oi,iwc->owc", bicubic(image.shape[0], height), along_width), 0, 255)


def assert_close(found, expected):
    """Pillow rounds to bytes after each axis: half a level times the weights' sum of magnitudes (1.25), plus half."""
    assert found.shape == expected.shape
    assert np.abs(np.asarray(found, float) - expected).max() <= 1.15


@pytest.mark.parametrize(
    ("height", "width", "size"), [(40, 50, 28), (300, 260, 224), (30, 90, 56), (512, 256, 224), (9, 7, 14)]
)
def test_evaluation_sees_the_middle_after_the_shorter_side_became_256_of_224(height, width, size):
    image = pixels(1, height, width)
    shorter = round(size * 256 / 224)
    new_height, new_width = (round(side * shorter / min(height, width)) for side in (height, width))
    assert min(new_height, new_width) == shorter
    top, left = (new_height - size) // 2, (new_width - size) // 2
    expected = resized(image, new_height, new_width)[top : top + size, left : left + size]
    assert_close(np.asarray(evaluation_view(Image.fromarray(image), size)), expected)


def window_by_hand(seed, height, width):
    """``(flipped, top, left, height, width)`` of the crop of a seed, or only ``(flipped,)`` if none fits."""
    draw = random.Random(seed).random
    flipped = draw() < 0.5
    for _ in range(10):
        area = height * width * (0.08 + 0.92 * draw())
        aspect = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * draw())
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if w <= width and h <= height:
            left = int(draw() * (width - w + 1))
            return flipped, int(draw() * (height - h + 1)), left, h, w
    return (flipped,)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 2**32 - 1])
def test_training_sees_a_resized_window_perhaps_mirrored(seed):
    image = pixels(2, 60, 75)
    flipped, top, left, height, width = window_by_hand(seed, 60, 75)
    expected = resized(image[top : top + height, left : left + width], 32, 32)
    expected = expected[:, ::-1] if flipped else expected
    assert_close(np.asarray(training_view(Image.fromarray(image), seed, 32)), expected)


def test_windows_have_the_stated_distribution():
    """On a large square: areas uniform in [0.08, 1] up to fitting, aspects in [3/4, 4/3], positions uniform."""
    left, top, right, bottom = np.array(
        [random_window((1000, 1000), random.Random(seed).random) for seed in range(4000)]
    ).T
    width, height = right - left, bottom - top
    assert min(left.min(), top.min()) >= 0
    assert max(right.max(), bottom.max()) <= 1000
    area, aspect = width * height / 1e6, np.log(width / height)
    assert area.min() >= 0.079
    assert area.max() <= 1
    assert np.abs(aspect).max() <= np.log(4 / 3) + 0.01
    # Every aspect fits into the square while the area is below 3/4.
    small = area < 0.74
    assert scipy.stats.kstest(area[small], "uniform", (0.08, 0.66)).pvalue > 1e-3
    assert scipy.stats.kstest(aspect[small], "uniform", (-np.log(4 / 3), 2 * np.log(4 / 3))).pvalue > 1e-3
    for start, room in ((left, 1000 - width), (top, 1000 - height)):
        wide = room > 300
        assert scipy.stats.kstest((start[wide] + 0.5) / (room[wide] + 1), "uniform").pvalue > 1e-3


def test_half_are_mirrored():
    image = Image.fromarray(np.broadcast_to(np.arange(40, dtype=np.uint8)[None, :, None] * 6, (40, 40, 3)).copy())
    mirrored = sum(
        view[4, 0, 0] > view[4, 7, 0] for view in (np.asarray(training_view(image, s, 8)) for s in range(600))
    )
    assert abs(mirrored - 300) < 4 * math.sqrt(150)


def test_where_no_window_fits_training_sees_what_evaluation_sees():
    panorama = Image.fromarray(pixels(3, 10, 1000))
    straight = np.asarray(evaluation_view(panorama, 8))
    views = [np.asarray(training_view(panorama, seed, 8)) for seed in range(12)]
    mirrored = [window_by_hand(seed, 10, 1000) == (True,) for seed in range(12)]
    assert 0 < sum(mirrored) < 12
    for view, flip in zip(views, mirrored, strict=True):
        np.testing.assert_array_equal(view, straight[:, ::-1] if flip else straight)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGB", "png"), ("L", "png"), ("L", "jpg"), ("LA", "png"), ("1", "png"), ("P", "png"), ("RGBA", "png")],
)
def test_every_mode_becomes_rgb(mode, suffix, tmp_path):
    image = Image.fromarray(pixels(4)).convert(mode)
    path = tmp_path / f"image.{suffix}"
    image.save(path)
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(read_rgb(str(path))), expected)
    if mode == "L":
        assert (expected[..., 0] == expected[..., 2]).all()


def test_cmyk_becomes_rgb(tmp_path):
    path = tmp_path / "image.jpg"
    Image.fromarray(pixels(5)).convert("CMYK").save(path, quality=100)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
    assert np.abs(np.asarray(read_rgb(str(path)), int) - pixels(5)).mean() < 3


def test_a_palette_with_transparency_keeps_its_colors(tmp_path):
    """Pillow would warn, and warnings are errors here."""
    path = tmp_path / "image.png"
    image = Image.fromarray(pixels(6)).quantize(16)
    image.save(path, transparency=bytes([0, 128] + [255] * 14))
    np.testing.assert_array_equal(np.asarray(read_rgb(str(path))), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("seeds", [None, [3, 4]])
def test_a_batch_is_its_images(seeds, tmp_path):
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for i, path in enumerate(paths):
        Image.fromarray(pixels(i)).save(path)
    images = decode_batch(paths, seeds, 8)
    assert images.dtype == np.uint8
    for i, path in enumerate(paths):
        view = evaluation_view(read_rgb(path), 8) if seeds is None else training_view(read_rgb(path), seeds[i], 8)
        np.testing.assert_array_equal(images[i], np.asarray(view))


def test_no_images_are_a_batch_too():
    assert decode_batch([], None, 8).shape == (0, 8, 8, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not an image", "neither JPEG nor PNG"),
        (b"", "neither JPEG nor PNG"),
        (None, "No such file or directory"),
    ],
)
def test_what_is_no_image_is_named(content, reason, tmp_path):
    path = tmp_path / "broken.JPEG"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=rf"broken\.JPEG: not an image, or damaged \({reason}.*replace the file"):
        decode_batch([str(path)], None, 8)


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (3, 5001)])
def test_the_middle_of_an_oblong_image_needs_no_more_memory(shape, mode, monkeypatch, tmp_path):
    """What evaluation sees of it is grey from the first half to the second, whatever is beyond."""
    areas = []
    genuine = Image.Image.resize

    def resize(image, size, *arguments, **options):
        areas.append(size[0] * size[1])
        return genuine(image, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", resize)
    second = np.arange(max(shape)) >= max(shape) / 2
    grey = np.broadcast_to(255 * second.astype(np.uint8), (min(shape), max(shape)))
    grey = grey if shape[0] < shape[1] else grey.T
    Image.fromarray(grey.copy()).convert(mode).save(tmp_path / "long.png")
    (view,) = decode_batch([str(tmp_path / "long.png")], None, 28).astype(int)
    assert max(areas) <= 9 * 32**2
    half, other = (view[:14], view[14:]) if shape[0] > shape[1] else (view[:, :14], view[:, 14:])
    assert half.mean() < other.mean()
    if max(shape) % 2 == 0:
        assert half.mean() + other.mean() == pytest.approx(255, abs=4)


@pytest.mark.parametrize(("size", "said"), [((20_000_000, 1), "20,000,000 x 1"), ((9_500, 9_500), "9,500 x 9,500")])
def test_too_many_pixels_are_refused_before_they_are_read(size, said, tmp_path):
    path = tmp_path / "large.png"
    Image.new("1", size).save(path, compress_level=1)
    with pytest.raises(UnreadableImage, match=rf"large\.png: not an image, or damaged \({said} pixels are too many"):
        decode_batch([str(path)], None, 8)


@together(
    ("content", "error"),
    [
        (with_empty_profile(encoded(pixels(1))), IndexError),
        (encoded(pixels(1), "BMP"), OSError),
        (encoded(pixels(1), "GIF"), OSError),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n", OSError),
    ],
    ids=["iCCP", "BMP", "GIF", "PostScript"],
)
def test_whatever_pillow_raises_names_the_file(content, error, tmp_path):
    """Formats of Pillow's that nobody asks for are not tried: some of them run programs."""
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"broken\.png: not an image, or damaged \(.+\); replace") as raised:
        decode_batch([str(path)], [1], 8)
    assert isinstance(raised.value.__cause__, error)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_named(suffix, tmp_path):
    path = tmp_path / f"short.{suffix}"
    Image.fromarray(pixels(7)).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UnreadableImage, match=rf"short\.{suffix}: not an image, or damaged"):
        decode_batch([str(path)], [1], 8)


def test_more_than_8_bits_are_refused(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)
    with pytest.raises(UnreadableImage, match=r"deep\.png: more than 8 bits per channel \(I;16\); convert it"):
        decode_batch([str(path)], None, 8)
