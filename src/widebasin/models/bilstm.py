"""A recurrent classifier of sentences: LSTMs in both directions, and attention over their states."""

from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from widebasin.models.dropout import Rate, dropped, words_dropped
from widebasin.models.tagger import PADDING, UNKNOWN

# Standard deviation of embeddings at the start, as in Flax's example.
EMBEDDING_DEVIATION = 0.1


class LSTM(eqx.Module):
    """Long short-term memory, in one direction.

    ``i, f, g, o = W_x x + W_h h + b``; ``c <- sigmoid(f) c + sigmoid(i) tanh(g)``; ``h <- sigmoid(o) tanh(c)``.

    Attributes:
        inputs: ``W_x``.
        state: ``W_h``.
        bias: ``b``.
    """

    INPUT_AXES: ClassVar[Mapping[str, int]] = {"inputs": 1, "state": 1}
    FAN_AVERAGE: ClassVar[tuple[str, ...]] = ("inputs",)

    inputs: Float[Array, "gates features"]
    state: Float[Array, "gates hidden"]
    bias: Float[Array, " gates"]

    def __init__(self, features: int, hidden: int, *, key: Key[Array, ""]) -> None:
        """Weights of the inputs by Glorot's rule, those of the state orthogonal, gate by gate; biases 0."""
        first, second = jax.random.split(key)
        self.inputs = jax.nn.initializers.glorot_uniform(in_axis=1, out_axis=0)(first, (4 * hidden, features))
        orthogonal = jax.nn.initializers.orthogonal()
        self.state = jnp.concatenate([orthogonal(one, (hidden, hidden)) for one in jax.random.split(second, 4)])
        self.bias = jnp.zeros(4 * hidden)

    def __call__(
        self, x: Float[Array, "positions features"], present: Bool[Array, " positions"], reverse: bool = False
    ) -> Float[Array, "positions hidden"]:
        """The states after every position, from the last to the first if ``reverse``; padding changes no state."""
        gates = x @ self.inputs.T + self.bias

        def step(carry: tuple[Array, Array], one: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
            cell, hidden = carry
            at, here = one
            add, keep, new, out = jnp.split(at + self.state @ hidden, 4)
            after = jax.nn.sigmoid(keep) * cell + jax.nn.sigmoid(add) * jnp.tanh(new)
            shown = jax.nn.sigmoid(out) * jnp.tanh(after)
            carry = jnp.where(here, after, cell), jnp.where(here, shown, hidden)
            return carry, carry[1]

        zeros = jnp.zeros(self.state.shape[1], gates.dtype)
        return jax.lax.scan(step, (zeros, zeros), (gates, present), reverse=reverse)[1]


class BiLSTM(eqx.Module):
    """Embeddings, an LSTM in each direction, attention, and a perceptron with one hidden layer.

    The states ``h_t`` of both directions are averaged with the weights ``softmax_t(v . tanh(W h_t))`` over the words
    that are there. With ``E`` features of an embedding, ``H`` of a state, ``V`` words and ``C`` classes it has
    ``V E + 8 H (E + H + 1) + 2 H^2 + H + 2 H^2 + H + C (H + 1)`` parameters.

    Source: the classifier of SST-2 in Flax's examples, as in arXiv 2311.17539.

    Attributes:
        words: embeddings.
        forward: from the first word to the last.
        backward: from the last word to the first.
        keys: ``W``.
        attention: ``v``.
        hidden: of the perceptron.
        last: from the hidden layer to logits.

    Example:
        >>> import jax
        >>> from widebasin.models import BiLSTM, count_parameters
        >>> count_parameters(BiLSTM(37, words=100, key=jax.random.key(0)))
        31526
    """

    INPUT_AXES: ClassVar[Mapping[str, int]] = {"words": 0, "keys": 1, "attention": 0}
    FAN_AVERAGE: ClassVar[tuple[str, ...]] = ("keys", "attention")

    words: Float[Array, "words features"]
    forward: LSTM
    backward: LSTM
    keys: Float[Array, "hidden states"]
    attention: Float[Array, " hidden"]
    hidden: eqx.nn.Linear
    last: eqx.nn.Linear

    def __init__(
        self,
        width: int,
        words: int,
        classes: int = 2,
        embeddings: Float[Array | np.ndarray, "words features"] | None = None,
        *,
        key: Key[Array, ""],
    ) -> None:
        """Initializes the network.

        Args:
            width: features of a state, and of an embedding unless embeddings are given.
            words: size of the vocabulary, with padding (0) and the unknown word (1).
            classes: number of logits.
            embeddings: to start from, one for every word; drawn from ``N(0, 0.1^2)`` by default.
            key: for the other initial parameters.
        """
        if min(width, words, classes) < 1:
            raise ValueError(f"width, words and classes must be at least 1, got {width}, {words} and {classes}")
        if embeddings is not None and len(embeddings) != words:
            raise ValueError(f"embeddings must be one for every word, {words:,}, got {len(embeddings):,}")
        keys = jax.random.split(key, 7)
        drawn = EMBEDDING_DEVIATION * jax.random.normal(keys[0], (words, width)) if embeddings is None else embeddings
        self.words = jnp.asarray(drawn, float)
        features = self.words.shape[1]
        self.forward = LSTM(features, width, key=keys[1])
        self.backward = LSTM(features, width, key=keys[2])
        glorot = jax.nn.initializers.glorot_uniform(in_axis=1, out_axis=0)
        self.keys = glorot(keys[3], (width, 2 * width))
        self.attention = glorot(keys[4], (1, width))[0]
        self.hidden = eqx.nn.Linear(2 * width, width, key=keys[5])
        self.last = eqx.nn.Linear(width, classes, key=keys[6])

    def __call__(
        self,
        words: Int[Array, " positions"],
        *,
        key: Key[Array, ""] | None = None,
        dropout: Rate = 0.0,
        word_dropout: Rate = 0.0,
    ) -> Float[Array, " classes"]:
        """The logits of one sentence; padding changes nothing, and a sentence without words is a state of zeros.

        Args:
            words: their numbers, 0 where there is none.
            key: of dropout, in training.
            dropout: of features of the embeddings, and of the hidden layer's inputs and outputs.
            word_dropout: of words, which become the unknown word.
        """
        present = words != PADDING
        keys = (None,) * 4 if key is None else jax.random.split(key, 4)
        x = self.words[words_dropped(keys[0], words, word_dropout, UNKNOWN, present)]
        x = dropped(keys[1], x, dropout)
        states = jnp.concatenate([self.forward(x, present), self.backward(x, present, reverse=True)], axis=1)
        scores = jnp.tanh(states @ self.keys.T) @ self.attention
        # All positions of a sentence without words have the same score, and states of zeros.
        weights = jax.nn.softmax(jnp.where(present, scores, jnp.finfo(scores.dtype).min))
        summary = dropped(keys[2], weights @ states, dropout)
        return self.last(dropped(keys[3], jnp.tanh(self.hidden(summary)), dropout))
