"""The instrument of the coordinate check: sizes of activations, and effects of the update and the ascent by layer."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from widebasin.curvature import NotFiniteError
from widebasin.data import key_for
from widebasin.parametrization import activation_sizes, layer_effects, layer_names, layer_roles
from widebasin.sam import ASAM, Method, Perturbing, Scales, ascent_point
from widebasin.studies.measuring import Instrument, Row
from widebasin.sweep.cells import Cell
from widebasin.sweep.networks import TrainedNetwork
from widebasin.training import Batch, Model, Supervised, initialization_key
from widebasin.workloads import WORKLOADS

# What ``coordinates_instrument`` measures of every layer.
COORDINATES = ("activation_initial", "activation_final", "update", "ascent_initial", "ascent_final")
NOTHING: Row = dict.fromkeys(COORDINATES, float("nan"))


def coordinates_instrument(samples: int, widths: Sequence[int]) -> Instrument:
    """Layer by layer: how large activations are, and how far its update and its perturbation move the outputs.

    On the first training examples, in training mode: batch normalization uses their statistics, and dropout the same
    masks everywhere. The ascent is that of the network's method at its radius, from the gradient of the first ``m``
    of these examples if the method computes ascents on groups, otherwise of all of them.

    Columns: ``layer``, see ``parametrization.layer_names``; ``role``, see ``parametrization.layer_roles``, from the
    smallest to the largest of the widths; ``activation_initial`` and ``activation_final``, the root mean square of the
    products of the layer's weights with their inputs, before and after training; ``update``, the effect on the outputs
    of the layer's update in training alone, and ``ascent_initial`` and ``ascent_final``, of the layer's part of the
    ascent alone, see ``parametrization.layer_effects``. NaN where there is none: of layers without a product, or in
    loops, and of the ascent of a network that was trained without one.
    """

    def rows(network: TrainedNetwork) -> list[Row]:
        problem, cell, point = network.problem, network.cell, network.point
        before = problem.init(initialization_key(point.seed))
        trained = jax.tree.leaves(eqx.filter(network.model, eqx.is_inexact_array))
        after = Model(jax.tree.unflatten(jax.tree.structure(before.params), trained), before.state)
        if not all(bool(jnp.isfinite(leaf).all()) for leaf in trained):
            raise NotFiniteError("the network diverged: its activations have no size")
        chosen = np.asarray(network.examples.train)[:samples]
        inputs = jax.tree.map(lambda leaf: leaf[chosen], problem.dataset.inputs)
        batch = Batch(inputs, jax.tree.map(lambda leaf: leaf[:samples], network.examples.train_targets))
        keys = jax.random.split(key_for(jax.random.key(point.seed), "coordinates"), len(chosen))
        given = network.examples.given
        names = layer_names(before.params)
        paths = [jax.tree_util.keystr(path).lstrip(".") for path, _ in jax.tree.leaves_with_path(before.params)]
        layer_of = dict(zip(paths, names, strict=True))
        roles = layer_roles(
            *(WORKLOADS[cell.workload].structure(w, cell.settings.standard) for w in (max(widths), min(widths)))
        )
        found = {name: {"layer": name, "role": roles[name]} | NOTHING for name in dict.fromkeys(names)}
        perturbed = isinstance(cell.with_radius(0.0), Perturbing) and point["rho"] > 0
        for model, when in ((before, "initial"), (after, "final")):
            sizes, effects = _coordinates(problem, cell, point["rho"], model, given, batch, keys)
            for name, row in found.items():
                own = [float(size) ** 2 for path, size in sizes.items() if layer_of[path] == name]
                row[f"activation_{when}"] = float(np.sqrt(np.mean(own))) if own else np.nan
                row[f"ascent_{when}"] = float(effects[name]) if perturbed else np.nan
        for name, size in _effects_of_updates(problem, before, after, given, batch, keys).items():
            found[name]["update"] = float(size)
        return list(found.values())

    return Instrument("coordinates", {"samples": samples}, rows, {"layer": "", "role": ""} | NOTHING)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _coordinates(
    problem: Supervised, cell: Cell, rho: Array, model: Model, given: Any, batch: Batch, keys: Key[Array, " examples"]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Sizes of activations by parameter, and effects of the layers' parts of the ascent."""
    outputs = _outputs_of(problem, model.state, given, batch, keys)
    first = jax.tree.map(lambda leaf: leaf[: cell.m], (batch, keys))
    of_ascent = _outputs_of(problem, model.state, given, *first)

    def loss(params: PyTree) -> Array:
        return problem.minimized(problem.totals(of_ascent(params), first[0]), None)

    moved = _ascent_point_of(cell.with_radius(rho), model.params, jax.grad(loss)(model.params))
    return activation_sizes(outputs, model.params), layer_effects(outputs, model.params, moved)


@functools.partial(jax.jit, static_argnums=0)
def _effects_of_updates(
    problem: Supervised, before: Model, after: Model, given: Any, batch: Batch, keys: Key[Array, " examples"]
) -> dict[str, Array]:
    return layer_effects(_outputs_of(problem, before.state, given, batch, keys), before.params, after.params)


def _outputs_of(
    problem: Supervised, state: Any, given: Any, batch: Batch, keys: Key[Array, " examples"]
) -> Callable[[PyTree], PyTree]:
    """Parameters -> outputs for a batch in training."""
    inputs = problem.dataset.prepared(batch.inputs)
    return lambda params: problem.network.outputs(params, state, inputs, training=True, keys=keys, given=given)[0]


def _ascent_point_of(method: Method, params: PyTree, gradients: PyTree) -> PyTree:
    """Where a method of one ascent along the gradient takes its second gradient; ``params`` if it takes none."""
    if not isinstance(method, Perturbing):
        return params
    scales = method.scales
    if isinstance(method, ASAM) or getattr(method, "adaptive", False):
        sizes = jax.tree.map(lambda leaf: jnp.abs(leaf) + getattr(method, "eta", 0.0), params)

        def scales(gradients: PyTree) -> Scales:
            own = Scales() if method.scales is None else method.scales(gradients)
            numerator, norm = (_factors(one, gradients) for one in own)
            return Scales(
                jax.tree.map(lambda factor, size: factor * size**2, numerator, sizes),
                jax.tree.map(jnp.multiply, norm, sizes),
            )

    normalize = getattr(method, "normalize", True)
    return ascent_point(params, gradients, method.rho, normalize=normalize, mask=method.mask, scales=scales)


def _factors(factors: PyTree, gradients: PyTree) -> PyTree:
    """Factors for every array, from those of an array or of a branch."""
    return jax.tree.map(lambda factor, branch: jax.tree.map(lambda _: factor, branch), factors, gradients)
