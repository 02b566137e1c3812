"""The encoder block of transformers."""

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, Key

from widebasin.models.affine import affine
from widebasin.models.dropout import Rate, dropped


class EncoderBlock(eqx.Module):
    """Attention and a perceptron, each behind layer normalization and beside a shortcut.

    ``x <- x + attention(norm(x))``, then ``x <- x + W_2 gelu(W_1 norm(x) + b_1) + b_2`` for every token.
    """

    attention_norm: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    mlp_norm: eqx.nn.LayerNorm
    expand: eqx.nn.Linear
    contract: eqx.nn.Linear

    def __init__(self, dimension: int, heads: int, expansion: int = 2, *, key: Key[Array, ""]) -> None:
        """A block on tokens with ``dimension`` features; ``expansion`` times as many are hidden in the perceptron."""
        keys = jax.random.split(key, 3)
        self.attention_norm = eqx.nn.LayerNorm(dimension)
        self.attention = eqx.nn.MultiheadAttention(
            heads,
            dimension,
            use_query_bias=True,
            use_key_bias=True,
            use_value_bias=True,
            use_output_bias=True,
            key=keys[0],
        )
        self.mlp_norm = eqx.nn.LayerNorm(dimension)
        self.expand = eqx.nn.Linear(dimension, expansion * dimension, key=keys[1])
        self.contract = eqx.nn.Linear(expansion * dimension, dimension, key=keys[2])

    def __call__(
        self,
        tokens: Float[Array, "tokens dimension"],
        present: Bool[Array, " tokens"] | None = None,
        *,
        key: Key[Array, ""] | None = None,
        dropout: Rate = 0.0,
    ) -> Float[Array, "tokens dimension"]:
        """The tokens after the block.

        Args:
            tokens: of one example.
            present: which of them are there; nothing attends to the others. All by default.
            key: of dropout, in training.
            dropout: rate at which outputs of the attention, and hidden features and outputs of the perceptron, are
                dropped.
        """
        keys = (None,) * 3 if key is None else jax.random.split(key, 3)
        mask = None if present is None else jax.numpy.broadcast_to(present, (len(tokens), len(tokens)))
        normalized = jax.vmap(self.attention_norm)(tokens)
        tokens = tokens + dropped(keys[0], self.attention(normalized, normalized, normalized, mask=mask), dropout)
        hidden = jax.nn.gelu(affine(self.expand, jax.vmap(self.mlp_norm)(tokens)))
        return tokens + dropped(keys[2], affine(self.contract, dropped(keys[1], hidden, dropout)), dropout)
