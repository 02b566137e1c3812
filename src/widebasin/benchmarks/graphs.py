"""How many graphs per second a network of graphs trains on: here, and with packed batches here and in PyTorch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from widebasin.benchmarks import ragged
from widebasin.benchmarks.benchmark import Benchmark
from widebasin.benchmarks.ragged import Case
from widebasin.benchmarks.synthetic_ragged import TOX21_SIZES, molecules_like
from widebasin.data import ATOM_FEATURES, Buckets, Dataset
from widebasin.models import GraphConvolution
from widebasin.models.dropout import dropped
from widebasin.training import BINARY_TASKS, Bucketed, Objective, Recipe
from widebasin.workloads.graphs import cut_graphs, graph_buckets

PACKED = "widebasin, packed"


@dataclass(frozen=True, eq=False)
class GraphCase(Case):
    """The network of ``mol-gcn`` with 3 layers, features of atoms as numbers, on graphs with the sizes of Tox21."""

    width: int = 64
    batch_size: int = 64
    steps: int = 20
    rates: Mapping[str, float] = field(default_factory=lambda: {"dropout": 0.1})
    tasks: int = 12
    name: ClassVar[str] = "graph convolutions"
    unit: ClassVar[str] = "graphs"
    objective: ClassVar[Objective] = BINARY_TASKS

    @property
    def recipe(self) -> Recipe:
        """See ``Case``."""
        return Recipe(1, self.batch_size, 2e-3, "constant", optimizer="adam")

    @cached_property
    def dataset(self) -> Dataset:
        """See ``Case``."""
        return molecules_like(TOX21_SIZES, self.examples, self.tasks)

    @property
    def sizes(self) -> np.ndarray:
        """Numbers of nodes."""
        return self.dataset.inputs["sizes"]

    def counts(self) -> np.ndarray:
        """One for every graph."""
        return np.ones(len(self.dataset), int)

    def buckets(self) -> Buckets:
        """See ``Case``."""
        return graph_buckets(self.dataset.inputs)

    def cut(self, buckets: Buckets) -> Callable[[Any, int], Any]:
        """See ``Case``."""
        return cut_graphs(self.dataset.inputs, buckets)

    def variants(self) -> dict[str, Bucketed]:
        """Also packed batches: the nodes of all graphs of a batch in one array."""
        return super().variants() | {PACKED: self.problem(Buckets.fitted(self.sizes, 64), Packed)}

    def model(self, key: Any) -> eqx.Module:
        """See ``Case``."""
        scale = tuple(float(values - 1) for values in ATOM_FEATURES.values())
        return GraphConvolution(self.width, len(ATOM_FEATURES), self.tasks, depth=3, scale=scale, key=key)

    def torch_parts(self, model: Any) -> tuple[Any, Callable[[Any], Any], Callable[[Any, Any], Any] | None]:
        """See ``Case``."""
        from widebasin.benchmarks import torch_ragged

        return torch_ragged.TorchGraphConvolution(model, **self.rates), torch_ragged.graphs, torch_ragged.tasks_loss


class Packed(Bucketed):
    """The nodes of all graphs of a batch one after the other; messages are gathered and added edge by edge.

    There is room for the nodes of graphs that are as large as their columns may be.
    """

    def outputs(self, model: Any, source: Any, batch: Any, keys: Any, *, training: bool) -> tuple[PyTree, PyTree]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See ``Bucketed``."""
        graphs = batch.inputs
        edges = {length: self.cut(graphs, length)["edges"].shape[1] for _, length in batch.columns}
        room = sum(number * length for number, length in batch.columns)
        edge_room = sum(number * edges[length] for number, length in batch.columns)
        network = eqx.combine(model.params, self.network.static)
        key = keys[0] if training and keys is not None else None
        return _packed_outputs(network, graphs, room, edge_room, key, source.given["dropout"]), model.state


def _packed_outputs(network: Any, graphs: Mapping[str, Array], room: int, edge_room: int, key: Any, rate: Any) -> Array:
    sizes = graphs["sizes"]
    first = jnp.cumsum(sizes) - sizes
    count = len(sizes)
    # The graph of every node, ``count`` beyond the last; likewise of every edge.
    owner = jnp.searchsorted(jnp.cumsum(sizes), jnp.arange(room), side="right")
    inside = jnp.minimum(owner, count - 1)
    nodes = graphs["nodes"][inside, jnp.minimum(jnp.arange(room) - first[inside], graphs["nodes"].shape[1] - 1)]
    edge_counts = (graphs["edges"][..., 0] >= 0).sum(1)
    edge_owner = jnp.searchsorted(jnp.cumsum(edge_counts), jnp.arange(edge_room), side="right")
    edge_inside = jnp.minimum(edge_owner, count - 1)
    slots = jnp.arange(edge_room) - (jnp.cumsum(edge_counts) - edge_counts)[edge_inside]
    ends = graphs["edges"][edge_inside, jnp.minimum(slots, graphs["edges"].shape[1] - 1)].astype(jnp.int32)
    ends = jnp.where((edge_owner < count)[:, None], ends + first[edge_inside][:, None], room)
    origin, target = jnp.concatenate([ends, ends[:, ::-1]]).T
    scale = jax.lax.rsqrt(1.0 + jnp.zeros(room).at[target].add(1, mode="drop"))
    weights = scale[origin] * scale[target]
    layers = list(zip(network.hidden, network.norms, strict=True))
    keys = [None] * 2 * len(layers) if key is None else list(jax.random.split(key, 2 * len(layers)))
    x = jax.vmap(network.first)(nodes.astype(scale.dtype) / jnp.asarray(network.scale))
    for number, ((expand, contract), norm) in enumerate(layers):
        message = dropped(keys[2 * number], jax.nn.relu(jax.vmap(expand)(x)), rate)
        message = dropped(keys[2 * number + 1], jax.nn.relu(jax.vmap(contract)(message)), rate)
        moved = jnp.zeros_like(x).at[target].add(message[origin] * weights[:, None], mode="drop")
        x = jax.vmap(norm)(x + message * (scale * scale)[:, None] + moved)
    sums = jnp.zeros((count, x.shape[1])).at[owner].add(x, mode="drop")
    return jax.vmap(network.last)(sums / jnp.maximum(sizes, 1)[:, None])


CASES: tuple[Case, ...] = (GraphCase(),)


def measure(rounds: int) -> Benchmark:
    """Times a step of Adam and of SAM for every framework."""
    return ragged.measure(
        "graphs",
        "one step of the network of graphs, made molecules",
        "widebasin: products with dense adjacency matrices, bucket by bucket. Packed, and PyTorch: the nodes of all "
        "graphs of a batch in one array, messages gathered and added edge by edge.",
        CASES,
        rounds,
    )
