import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.networks import anywhere, close
from together import together

from widebasin.models import BiLSTM, count_parameters
from widebasin.models.bilstm import LSTM

# Words of two sentences, one cut short by padding, and one without words.
SENTENCES = np.array([[3, 5, 2, 9, 1, 4, 2], [7, 7, 2, 1, 0, 0, 0], [0] * 7])
LENGTHS = (7, 4, 0)


@settings(max_examples=10)
@given(*(st.integers(1, 9) for _ in range(4)))
def test_the_number_of_parameters(width, words, classes, features):
    h, e = width, features
    vectors = np.zeros((words, features))
    model = eqx.filter_eval_shape(lambda key: BiLSTM(width, words, classes, vectors, key=key), jax.random.key(0))
    expected = words * e + 8 * h * (e + h + 1) + 2 * h**2 + h + 2 * h**2 + h + classes * (h + 1)
    assert count_parameters(model) == expected


def test_the_published_ladder():
    """Of SST-2 in arXiv 2311.17539, with the words of ours: .5 to 15.1 million, to 3%; .5 has one digit."""
    published = {37: 0.5e6, 75: 1.1e6, 150: 2.5e6, 300: 5.8e6, 450: 10.0e6, 600: 15.1e6}
    for width, number in published.items():
        model = eqx.filter_eval_shape(lambda key, width=width: BiLSTM(width, 13_521, key=key), jax.random.key(0))
        assert count_parameters(model) == pytest.approx(number, rel=0.03, abs=0.05e6)


@pytest.fixture(scope="module")
def case():
    """A network at random weights in float64 whose embeddings have another width, its logits and their gradient."""
    with jax.enable_x64(True):
        vectors = np.random.default_rng(5).normal(size=(10, 3))
        model = anywhere(lambda key: BiLSTM(4, 10, 3, vectors, key=key))

        @jax.jit
        def logits_of(model, words):
            return jax.vmap(model)(words)

        gradient = jax.jit(jax.grad(lambda model, words: (jax.vmap(model)(words) ** 2).sum()))(model, SENTENCES)
        return model, logits_of, np.asarray(logits_of(model, SENTENCES)), gradient


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def states_by_hand(lstm, x):
    cell = hidden = np.zeros(lstm.state.shape[1])
    states = []
    for row in x:
        gates = np.asarray(lstm.inputs) @ row + np.asarray(lstm.state) @ hidden + np.asarray(lstm.bias)
        i, f, g, o = np.split(gates, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        states.append(hidden)
    return np.array(states)


def logits_by_hand(model, words):
    """Of the words of a sentence without padding."""
    summary = np.zeros(2 * len(model.attention))
    if len(words):
        x = np.asarray(model.words)[words]
        states = np.concatenate([states_by_hand(model.forward, x), states_by_hand(model.backward, x[::-1])[::-1]], 1)
        scores = np.tanh(states @ np.asarray(model.keys).T) @ np.asarray(model.attention)
        weights = np.exp(scores) / np.exp(scores).sum()
        summary = weights @ states
    hidden = np.tanh(np.asarray(model.hidden.weight) @ summary + np.asarray(model.hidden.bias))
    return np.asarray(model.last.weight) @ hidden + np.asarray(model.last.bias)


def test_logits_are_those_of_a_loop_over_the_words_that_are_there(case):
    model, _, logits, _ = case
    for words, length, found in zip(SENTENCES, LENGTHS, logits, strict=True):
        close(found, logits_by_hand(model, words[:length]))


@pytest.mark.slow
def test_torch_agrees(case):
    torch = pytest.importorskip("torch")
    from models.torch_networks import torch_bilstm

    model, _, logits, gradient = case
    network = torch_bilstm(model)
    found = network(torch.tensor(SENTENCES[:2]), torch.tensor(LENGTHS[:2]))
    close(logits[:2], found.detach())
    # The sentence without words gives the last layers a gradient of its own.
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(lambda model, words: (jax.vmap(model)(words) ** 2).sum()))(model, SENTENCES[:2])
    (found**2).sum().backward()
    close(gradient.words, network.words.weight.grad)
    for direction, ending in ((gradient.forward, ""), (gradient.backward, "_reverse")):
        close(direction.inputs, getattr(network.lstm, f"weight_ih_l0{ending}").grad)
        close(direction.state, getattr(network.lstm, f"weight_hh_l0{ending}").grad)
        close(direction.bias, getattr(network.lstm, f"bias_ih_l0{ending}").grad)
    close(gradient.keys, network.keys.weight.grad)
    close(gradient.attention, network.attention.weight.grad[0])
    close(gradient.last.weight, network.last.weight.grad)


def test_gradients_are_those_of_finite_differences(case):
    model, logits_of, _, gradient = case
    random = np.random.default_rng(2)
    with jax.enable_x64(True):
        for where in (lambda m: m.words, lambda m: m.forward.state, lambda m: m.backward.inputs, lambda m: m.keys):
            direction = random.normal(size=where(model).shape)
            sums = [
                float((logits_of(eqx.tree_at(where, model, where(model) + h * direction), SENTENCES) ** 2).sum())
                for h in (1e-5, -1e-5)
            ]
            assert (sums[0] - sums[1]) / 2e-5 == pytest.approx(float((where(gradient) * direction).sum()), rel=1e-6)


def test_padding_and_what_its_embedding_is_change_nothing(case):
    model, logits_of, logits, gradient = case
    with jax.enable_x64(True):
        close(logits_of(model, np.pad(SENTENCES, ((0, 0), (0, 3)))), logits)
        other = eqx.tree_at(lambda m: m.words, model, model.words.at[0].set(99.0))
        np.testing.assert_array_equal(logits_of(other, SENTENCES), logits)
    assert not np.asarray(gradient.words)[0].any()


@pytest.mark.slow
def test_the_beginning_of_an_lstm():
    lstm = LSTM(30, 20, key=jax.random.key(0))
    assert not np.asarray(lstm.bias).any()
    for gate in np.split(np.asarray(lstm.state), 4):
        np.testing.assert_allclose(gate @ gate.T, np.eye(20), atol=1e-5)
    bound = np.sqrt(6 / (30 + 80))
    assert 0.9 * bound < np.abs(np.asarray(lstm.inputs)).max() <= bound


@pytest.mark.slow
def test_embeddings_are_those_given_or_small():
    vectors = np.random.default_rng(0).normal(size=(6, 3))
    np.testing.assert_array_equal(BiLSTM(2, 6, embeddings=vectors, key=jax.random.key(0)).words, np.float32(vectors))
    drawn = np.asarray(BiLSTM(2, 3_000, key=jax.random.key(0)).words)
    assert drawn.std() == pytest.approx(0.1, rel=0.05)


@pytest.mark.slow
def test_dropout_needs_a_key_and_a_rate():
    model = BiLSTM(4, 10, key=jax.random.key(0))
    words = jnp.asarray(SENTENCES[0])
    call = eqx.filter_jit(lambda key, rate, words_rate: model(words, key=key, dropout=rate, word_dropout=words_rate))
    zero, half = jnp.float32(0), jnp.float32(0.5)
    expected = call(None, half, half)
    np.testing.assert_allclose(call(KEY, zero, zero), expected, rtol=1e-6)
    assert all(np.abs(call(KEY, *rates) - expected).max() > 1e-4 for rates in ((half, zero), (zero, half)))


KEY = jax.random.key(7)


@together(
    ("arguments", "message"),
    [
        ({"width": 0, "words": 5}, "width, words and classes must be at least 1, got 0, 5 and 2"),
        ({"width": 4, "words": 5, "classes": 0}, "got 4, 5 and 0"),
        (
            {"width": 4, "words": 5, "embeddings": np.zeros((6, 3))},
            "embeddings must be one for every word, 5, got 6",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BiLSTM(**arguments, key=jax.random.key(0))
