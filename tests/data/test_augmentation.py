import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from widebasin.data import crop_and_flip, random_crop, random_flip

IMAGES = np.random.default_rng(0).integers(1, 256, (128, 32, 32, 3), np.uint8)  # no zeros: those are the padding
MANY = jax.random.split(jax.random.key(1), 8100)


def windows(image, padding=4):
    """All crops of one image, by row and column."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width, _ = image.shape
    return np.array(
        [[padded[r : r + height, c : c + width] for c in range(2 * padding + 1)] for r in range(2 * padding + 1)]
    )


def position_of(crops, image, padding=4):
    """Which of the windows each crop is; every one must be exactly one of them."""
    equal = (np.asarray(crops)[:, None] == windows(image, padding).reshape(1, -1, *image.shape)).all((2, 3, 4))
    assert (equal.sum(1) == 1).all()
    return equal.argmax(1)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crops_and_mirror_images_are_those_of_numpy(dtype):
    """Every image of a batch is one of its own 81 windows, or the mirror image of one, to the last bit."""
    images = jnp.asarray(IMAGES.astype(dtype))
    keys = jax.random.split(jax.random.key(0), len(images))
    found = jax.jit(jax.vmap(crop_and_flip))(keys, images)
    assert found.dtype == dtype
    flipped = 0
    for before, after in zip(IMAGES.astype(dtype), np.asarray(found), strict=True):
        straight = (windows(before) == after).all((2, 3, 4)).sum()
        mirrored = (windows(before) == after[:, ::-1]).all((2, 3, 4)).sum()
        assert straight + mirrored == 1
        flipped += mirrored
    assert 40 <= flipped <= 88  # 64 +- 4.2 standard deviations


def test_all_81_windows_are_equally_likely():
    image = IMAGES[0, :8, :8, :1]
    crops = jax.jit(jax.vmap(random_crop, in_axes=(0, None)))(MANY, jnp.asarray(image))
    counts = np.bincount(position_of(crops, image), minlength=81)
    assert counts.min() > 0
    assert 1e-3 < scipy.stats.chisquare(counts).pvalue < 1 - 1e-3


def test_half_are_mirrored_whatever_the_window():
    image = jnp.asarray(IMAGES[0, :6, :5])
    mirrored = np.asarray(jax.jit(jax.vmap(random_flip, in_axes=(0, None)))(MANY, image))[:, 0, 0, 0] != image[0, 0, 0]
    assert abs(mirrored.sum() - 4050) < 4 * np.sqrt(8100 / 4)
    image = IMAGES[0, :8, :8, :1]
    both = np.asarray(jax.jit(jax.vmap(crop_and_flip, in_axes=(0, None)))(MANY, jnp.asarray(image)))
    expected = windows(image).reshape(-1, *image.shape)
    is_straight = (both[:, None] == expected[None]).all((2, 3, 4))
    is_mirrored = (both[:, None] == expected[None, :, :, ::-1]).all((2, 3, 4))
    assert ((is_straight | is_mirrored).sum(1) == 1).all()
    table = np.stack([is_straight.sum(0), is_mirrored.sum(0)])
    assert scipy.stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "padding"), [((1, 1, 2), 1), ((5, 3, 1), 2), ((2, 4, 3), 6)])
def test_other_sizes_and_paddings(shape, padding):
    """Also a padding beyond the size of the image."""
    image = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    keys = jax.random.split(jax.random.key(2), 50)
    crops = jax.vmap(lambda key: random_crop(key, jnp.asarray(image), padding))(keys)
    possible = windows(image, padding).reshape(-1, 1, *shape)
    assert (possible == np.asarray(crops)).all((2, 3, 4)).any(0).all()


@pytest.mark.slow
def test_crop_and_flip_draw_from_keys_of_their_own():
    key, image = jax.random.key(5), jnp.asarray(IMAGES[0])
    cropped = random_crop(jax.random.fold_in(key, 0), image)
    np.testing.assert_array_equal(crop_and_flip(key, image), random_flip(jax.random.fold_in(key, 1), cropped))


@pytest.mark.slow
def test_networks_in_one_program_get_what_they_get_alone():
    keys = jax.random.split(jax.random.key(0), (3, 4))
    images = jnp.asarray(IMAGES[:12].reshape(3, 4, 32, 32, 3))
    together = jax.vmap(jax.vmap(crop_and_flip))(keys, images)
    np.testing.assert_array_equal(together[1, 2], crop_and_flip(keys[1, 2], images[1, 2]))


def test_without_padding_there_is_one_window():
    np.testing.assert_array_equal(random_crop(jax.random.key(0), jnp.asarray(IMAGES[0]), 0), IMAGES[0])


def test_a_negative_padding_is_refused():
    with pytest.raises(ValueError, match="padding must be a number of pixels >= 0, got -1"):
        random_crop(jax.random.key(0), jnp.asarray(IMAGES[0]), -1)
