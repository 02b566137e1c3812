"""Networks on graphs."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num

from widebasin.models.affine import affine
from widebasin.models.dropout import Rate, dropped


class GraphConvolution(eqx.Module):
    """Messages between neighbours, normalized, and the mean over the nodes.

    ``x <- LayerNorm(x + A relu(W_2 relu(W_1 x + b_1) + b_2))`` for every node, ``depth`` times, then logits of the mean
    of ``x``. ``A`` is the adjacency matrix with self loops, ``D^(-1/2) (adjacency + I) D^(-1/2)``. With ``h`` features
    of a node, ``F`` given and ``C`` outputs it has ``(F + 1) h + depth (2 h^2 + 4 h) + C (h + 1)`` parameters.

    Source: the network of ogbg-molpcba in Flax's examples (Kipf and Welling 2017, arXiv 1609.02907), as in arXiv
    2311.17539; with 9 features and 128 outputs it has 184,192, 695,936 and 2,702,464 parameters at 128, 256 and 512.

    Attributes:
        first: from the features of a node.
        hidden: ``W_1`` and ``W_2``, layer by layer.
        norms: layer by layer.
        last: from the mean over nodes to logits.
        scale: what the features of a node are divided by.
        values: number of values of each feature that is a category; empty where features are numbers.

    Example:
        >>> import jax
        >>> from widebasin.models import GraphConvolution, count_parameters
        >>> count_parameters(GraphConvolution(128, features=9, outputs=128, key=jax.random.key(0)))
        184192
    """

    first: eqx.nn.Linear
    hidden: list[tuple[eqx.nn.Linear, eqx.nn.Linear]]
    norms: list[eqx.nn.LayerNorm]
    last: eqx.nn.Linear
    scale: tuple[float, ...] = eqx.field(static=True)
    values: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        width: int,
        features: int,
        outputs: int,
        depth: int = 5,
        scale: tuple[float, ...] = (1.0,),
        values: tuple[int, ...] = (),
        *,
        key: Key[Array, ""],
    ) -> None:
        """Initializes the network.

        Args:
            width: features of a node within the network.
            features: of a node, as given.
            outputs: number of logits.
            depth: how many times messages are passed.
            scale: what features are divided by, one number for all or one for each.
            values: number of values of each feature, where features are categories from 0: each value has a column of
                its own then, 1 where a node has it.
            key: for the initial parameters.
        """
        if min(width, features, outputs, depth) < 1:
            raise ValueError(
                f"width, features, outputs and depth must be at least 1, got {width}, {features}, {outputs} and {depth}"
            )
        if len(scale) not in (1, features):
            raise ValueError(f"scale must be one number or {features}, got {len(scale)}")
        if len(values) not in (0, features):
            raise ValueError(f"values must be {features} numbers, or none, got {len(values)}")
        keys = jax.random.split(key, 2 + depth)
        self.first = eqx.nn.Linear(sum(values) or features, width, key=keys[0])
        self.last = eqx.nn.Linear(width, outputs, key=keys[1])
        pairs = [jax.random.split(one) for one in keys[2:]]
        self.hidden = [
            (eqx.nn.Linear(width, width, key=expand), eqx.nn.Linear(width, width, key=contract))
            for expand, contract in pairs
        ]
        self.norms = [eqx.nn.LayerNorm(width) for _ in pairs]
        self.scale, self.values = scale, values

    def __call__(
        self, graph: Mapping[str, Array], *, key: Key[Array, ""] | None = None, dropout: Rate = 0.0
    ) -> Float[Array, " outputs"]:
        """The logits of one graph; padding changes nothing, and the mean over no nodes is 0.

        Args:
            graph: ``nodes`` [nodes, features]; ``edges`` [edges, 2], each undirected edge once, -1 where there is none;
                ``sizes``, the number of nodes.
            key: of dropout, in training.
            dropout: of hidden features.
        """
        nodes = graph["nodes"]
        present = jnp.arange(len(nodes)) < graph["sizes"]
        dtype = self.first.weight.dtype
        adjacency = _normalized_adjacency(graph["edges"], present.astype(dtype))
        keys = (None,) * len(self.norms) if key is None else jax.random.split(key, len(self.norms))
        x = affine(self.first, self._columns(nodes, dtype))
        for (expand, contract), norm, own in zip(self.hidden, self.norms, keys, strict=True):
            first, second = (None, None) if own is None else jax.random.split(own)
            message = dropped(first, jax.nn.relu(affine(expand, x)), dropout)
            message = dropped(second, jax.nn.relu(affine(contract, message)), dropout)
            x = jax.vmap(norm)(x + adjacency @ message)
        share = present.astype(dtype) / jnp.maximum(graph["sizes"], 1).astype(dtype)
        return self.last(share @ x)

    def _columns(self, nodes: Num[Array, "nodes features"], dtype: Any) -> Float[Array, "nodes columns"]:
        if not self.values:
            return nodes.astype(dtype) / jnp.asarray(self.scale, dtype)
        one_hot = [jax.nn.one_hot(nodes[:, at], number, dtype=dtype) for at, number in enumerate(self.values)]
        return jnp.concatenate(one_hot, axis=1)


def _normalized_adjacency(edges: Int[Array, "edges 2"], present: Float[Array, " nodes"]) -> Float[Array, "nodes nodes"]:
    """``D^(-1/2) (adjacency + I) D^(-1/2)`` over the nodes that are there; 0 in all other rows and columns."""
    nodes = len(present)
    # Edges that are none lead to a node beyond the last, which is dropped.
    source, target = jnp.where(edges < 0, nodes, edges.astype(jnp.int32)).T
    adjacency = jnp.diag(present).at[source, target].add(1, mode="drop").at[target, source].add(1, mode="drop")
    scale = jax.lax.rsqrt(jnp.maximum(adjacency.sum(1), 1)) * present
    return adjacency * scale[:, None] * scale
