"""The instrument of the coordinate check: sizes of activations, and effects of the update and the ascent by layer."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from widebasin.curvature import NotFiniteError
from widebasin.data import key_for
from widebasin.parametrization import activation_sizes, layer_effects, layer_names, layer_roles
from widebasin.sam import ASAM, Perturbing, Scales, Scaling, ascent_point
from widebasin.studies.measuring import Instrument, Row
from widebasin.sweep.networks import TrainedNetwork, supervised
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
        cell, point = network.cell, network.point
        method = cell.with_radius(point["rho"])
        # The same function of parameters in every parametrization: it is compiled once.
        problem = supervised(replace(cell, settings=cell.settings.standard))
        before, after = _initial_and_trained(network)
        data = _data(network, problem, samples)
        names = layer_names(before.params)
        paths = [jax.tree_util.keystr(path).lstrip(".") for path, _ in jax.tree.leaves_with_path(before.params)]
        layer_of = dict(zip(paths, names, strict=True))
        workload = WORKLOADS[cell.workload]
        roles = layer_roles(*(workload.structure(w, cell.settings.standard) for w in (max(widths), min(widths))))
        found = {name: {"layer": name, "role": roles[name]} | NOTHING for name in dict.fromkeys(names)}
        for model, when in ((before, "initial"), (after, "final")):
            sizes = _sizes(problem, model, data)
            for name, row in found.items():
                own = [float(size) ** 2 for path, size in sizes.items() if layer_of[path] == name]
                row[f"activation_{when}"] = float(np.sqrt(np.mean(own))) if own else np.nan
            if isinstance(method, Perturbing) and point["rho"] > 0:
                first = jax.tree.map(lambda leaf: leaf[: cell.m], (data.batch, data.keys))
                gradients = _gradients(problem, model, Data(data.given, *first))
                moved = _ascent_point_of(method, model.params, gradients)
                for name, size in _effects(problem, model, moved, data).items():
                    found[name][f"ascent_{when}"] = float(size)
        for name, size in _effects(problem, before, after.params, data).items():
            found[name]["update"] = float(size)
        return list(found.values())

    return Instrument("coordinates", {"samples": samples}, rows, {"layer": "", "role": ""} | NOTHING)


class Data(NamedTuple):
    """What outputs are computed from, besides parameters.

    Attributes:
        given: see ``training.Supervised.given``.
        batch: examples as they are stored.
        keys: of dropout, one per example.
    """

    given: Mapping[str, Array]
    batch: Batch
    keys: Key[Array, " examples"]


def _data(network: TrainedNetwork, problem: Supervised, samples: int) -> Data:
    """The first training examples of a network."""
    chosen = np.asarray(network.examples.train)[:samples]
    inputs = jax.tree.map(lambda leaf: leaf[chosen], problem.dataset.inputs)
    targets = jax.tree.map(lambda leaf: leaf[:samples], network.examples.train_targets)
    keys = jax.random.split(key_for(jax.random.key(network.point.seed), "coordinates"), len(chosen))
    return Data(network.examples.given, Batch(inputs, targets), keys)


def _initial_and_trained(network: TrainedNetwork) -> tuple[Model, Model]:
    """A network before and after training; in training mode, only the state at the start matters.

    Raises:
        NotFiniteError: if it has diverged.
    """
    before = network.problem.init(initialization_key(network.point.seed))
    trained = jax.tree.leaves(eqx.filter(network.model, eqx.is_inexact_array))
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in trained):
        raise NotFiniteError("the network diverged: its activations have no size")
    return before, Model(jax.tree.unflatten(jax.tree.structure(before.params), trained), before.state)


def _outputs_of(problem: Supervised, state: Any, data: Data) -> Callable[[PyTree], PyTree]:
    """Parameters -> outputs for a batch in training."""
    inputs = problem.dataset.prepared(data.batch.inputs)
    return lambda params: problem.network.outputs(
        params, state, inputs, training=True, keys=data.keys, given=data.given
    )[0]


@functools.partial(jax.jit, static_argnums=0)
def _sizes(problem: Supervised, model: Model, data: Data) -> dict[str, Array]:
    return activation_sizes(_outputs_of(problem, model.state, data), model.params)


@functools.partial(jax.jit, static_argnums=0)
def _effects(problem: Supervised, model: Model, moved: PyTree, data: Data) -> dict[str, Array]:
    return layer_effects(_outputs_of(problem, model.state, data), model.params, moved)


@functools.partial(jax.jit, static_argnums=0)
def _gradients(problem: Supervised, model: Model, data: Data) -> PyTree:
    """Of the loss that is minimized."""
    outputs = _outputs_of(problem, model.state, data)
    return jax.grad(lambda params: problem.minimized(problem.totals(outputs(params), data.batch), None))(model.params)


def _ascent_point_of(method: Perturbing, params: PyTree, gradients: PyTree) -> PyTree:
    """Where a method of one ascent along the gradient takes its second gradient."""
    normalize = getattr(method, "normalize", True)
    scales = (
        _adaptive(method, params) if isinstance(method, ASAM) or getattr(method, "adaptive", False) else method.scales
    )
    return ascent_point(params, gradients, method.rho, normalize=normalize, mask=method.mask, scales=scales)


def _adaptive(method: Perturbing, params: PyTree) -> Scaling:
    """The scales of a method, times the sizes of the parameters as ASAM has them: ``|w| + eta size``."""
    eta = getattr(method, "eta", 0.0)

    def scales(gradients: PyTree) -> Scales:
        own = Scales() if method.scales is None else method.scales(gradients)
        numerator, norm, usual = (_factors(one, gradients) for one in own)
        sizes = jax.tree.map(lambda leaf, size: jnp.abs(leaf) + eta * size, params, usual)
        return Scales(
            jax.tree.map(lambda factor, size: factor * size**2, numerator, sizes),
            jax.tree.map(lambda factor, size: factor * size, norm, sizes),
        )

    return scales


def _factors(factors: PyTree, gradients: PyTree) -> PyTree:
    """Factors for every array, from those of an array or of a branch."""
    return jax.tree.map(lambda factor, branch: jax.tree.map(lambda _: factor, branch), factors, gradients)
