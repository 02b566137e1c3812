import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.networks import anywhere, close
from together import together

from widebasin.models import Tagger, count_parameters
from widebasin.models.tagger import sinusoids

WORDS = np.array([[3, 5, 2, 9, 1, 4], [7, 7, 2, 0, 0, 0], [0] * 6])
SUFFIXES = np.array([[2, 2, 1, 3, 1, 4], [3, 1, 2, 0, 0, 0], [0] * 6])


def shapes(*arguments, **keywords):
    return eqx.filter_eval_shape(lambda key: Tagger(*arguments, **keywords, key=key), jax.random.key(0))


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(1, 4), *(st.integers(1, 9) for _ in range(3)), st.integers(0, 5))
def test_the_number_of_parameters(heads, of_head, words, tags, depth, suffixes):
    e = 2 * heads * of_head
    found = count_parameters(shapes(e, words, tags, suffixes, depth, heads))
    assert found == number(e, words, tags, depth, suffixes)


# Millions at e = 128, 256 ... 640, with Ancient Greek in arXiv 2311.17539.
PUBLISHED = (5.5, 13.5, 23.7, 36.3, 51.3)


def number(e, words, tags, depth=6, suffixes=0):
    return words * e + depth * (12 * e**2 + 13 * e) + 2 * e + tags * (e + 1) + suffixes * e


def test_the_published_ladder():
    """Words and tags together are about 34,040: with 1% more or less, a number would be another."""

    def ladder(both):
        return tuple(round(number(e, both - 800, 800) / 1e6, 1) for e in range(128, 641, 128))

    fitting = [both for both in range(30_000, 40_000, 10) if ladder(both) == PUBLISHED]
    assert fitting == list(range(fitting[0], fitting[-1] + 10, 10))
    assert fitting[0] <= 34_040 <= fitting[-1]
    assert fitting[-1] - fitting[0] < 340
    assert count_parameters(shapes(640, 33_240, 800)) == number(640, 33_240, 800)


@pytest.fixture(scope="module")
def case():
    """A small network at random weights in float64, a function of words and suffixes, logits."""
    with jax.enable_x64(True):
        model = anywhere(lambda key: Tagger(8, 10, 3, suffixes=5, depth=2, heads=2, key=key))

        @eqx.filter_jit
        def logits_of(model, words, suffixes):
            return jax.vmap(model)({"words": words, "suffixes": suffixes})

        return model, logits_of, np.asarray(logits_of(model, WORDS, SUFFIXES))


@pytest.mark.slow
def test_torch_agrees(case):
    torch = pytest.importorskip("torch")
    from models.torch_networks import TorchTagger, tensor

    model, _, logits = case
    found = TorchTagger(model, sinusoids(6, 8))(tensor(WORDS[:2]), tensor(SUFFIXES[:2])).detach()
    close(logits[0], found[0])
    close(logits[1, :3], found[1, :3])
    assert torch.isfinite(found[0]).all()


def test_nothing_attends_to_padding(case):
    """What stands there changes no bit of the rest; more of it no more than rounding does."""
    model, logits_of, logits = case
    with jax.enable_x64(True):
        other = eqx.tree_at(lambda m: m.words, model, model.words.at[0].set(9.0))
        there = WORDS > 0
        np.testing.assert_array_equal(np.asarray(logits_of(other, WORDS, SUFFIXES))[there], logits[there])
        suffixes = np.where(there, SUFFIXES, 4)
        np.testing.assert_array_equal(np.asarray(logits_of(model, WORDS, suffixes))[there], logits[there])
        wide = np.pad(WORDS, ((0, 0), (0, 3))), np.pad(SUFFIXES, ((0, 0), (0, 3)))
        close(np.asarray(logits_of(model, *wide))[:, :6][there], logits[there])
        # A word at the end of the sentence does change its beginning.
        changed = WORDS.copy()
        changed[1, 2] = 5
        assert np.abs(np.asarray(logits_of(model, changed, SUFFIXES))[1, 0] - logits[1, 0]).max() > 1e-4
    assert np.isfinite(logits).all()  # also of the sentence without words


def test_places_tell_equal_words_apart_and_their_order_counts(case):
    model, logits_of, _ = case
    words, same = np.array([[4, 4, 4, 4]]), np.array([[1, 1, 1, 1]])
    with jax.enable_x64(True):
        found = np.asarray(logits_of(model, words, same))[0]
    assert min(np.abs(found[a] - found[b]).max() for a in range(4) for b in range(a)) > 1e-3


def test_positions_are_sinusoidal():
    """Products of two depend on their distance alone; the slowest of 2 d features has a wave of 10000^(1 - 2/d)."""
    found = sinusoids(50, 16)
    products = found @ found.T
    for distance in (0, 1, 7):
        assert np.ptp(np.diagonal(products, distance)) < 1e-12
    np.testing.assert_allclose(found[:, 0], np.sin(np.arange(50)), atol=1e-6)
    np.testing.assert_allclose(found[:, -1], np.cos(np.arange(50) * 10_000 ** -(14 / 16)), atol=1e-6)


@pytest.mark.slow
def test_dropout_needs_a_key_and_leaves_suffixes():
    model = Tagger(8, 10, 3, suffixes=5, depth=1, heads=2, key=jax.random.key(0))
    sentence = {"words": jnp.asarray(WORDS[0]), "suffixes": jnp.asarray(SUFFIXES[0])}
    unknown = sentence | {"words": jnp.ones(6, int)}
    call = eqx.filter_jit(lambda s, key, rate, words_rate: model(s, key=key, dropout=rate, word_dropout=words_rate))
    zero, half, most, key = jnp.float32(0), jnp.float32(0.5), jnp.float32(0.999_999), jax.random.key(1)
    expected = call(sentence, None, half, half)
    np.testing.assert_allclose(call(sentence, key, zero, zero), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(call(sentence, key, half, zero) - expected).max() > 1e-3
    np.testing.assert_allclose(call(sentence, key, zero, most), call(unknown, None, zero, zero), rtol=1e-5, atol=1e-6)
    assert model.suffixes is not None
    assert np.abs(call(unknown, None, zero, zero) - expected).max() > 1e-3


@together(
    ("arguments", "message"),
    [
        ({"dimension": 12, "heads": 8}, "dimension must be even and a multiple of heads, got 12 and 8"),
        ({"dimension": 9, "heads": 3}, "dimension must be even and a multiple of heads, got 9 and 3"),
        ({"dimension": 8, "words": 0}, "must be at least 1 and suffixes at least 0, got 8, 0, 3, 6, 8 and 0"),
        ({"dimension": 8, "suffixes": -1}, "got 8, 10, 3, 6, 8 and -1"),
        ({"dimension": 8, "depth": 0}, "got 8, 10, 3, 0, 8 and 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Tagger(**({"words": 10, "tags": 3} | arguments), key=jax.random.key(0))
