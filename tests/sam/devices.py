"""Runs every method on 1, 2, 4 and 8 devices at one m, and prints how far each run is from the one on one device.

The number of devices is fixed when JAX starts, so this is a program: ``python -m sam.devices none|8``. All methods
are compiled as one, without optimizations, since compilation is most of the time.
"""

import dataclasses
import functools
import json
import os
import sys

from compiling import xla_flags

DEVICES = 8
os.environ["XLA_FLAGS"] = xla_flags(DEVICES)

import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import Mesh, NamedSharding  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402
from sam.family import loss, problem  # noqa: E402

from widebasin import sam  # noqa: E402

# The batch has 16 examples. A group of 8 is on 2 of 4 and on 4 of 8 devices; the whole batch is on all.
# "unchecked" is shard_map with check_vma=False.
RUNS = {
    None: [(2, "unchecked"), (8, "shard_map")],
    8: [(4, "unchecked"), (8, "jit")],
}


def registered(name, m):
    """The method of the registry with its defaults, at this ``m``."""
    method = sam.METHODS[name].with_radius(0.3)
    return method if name == "sgd" else dataclasses.replace(method, m=m)


def two_steps(step, params, states, batch):
    """What two steps return: ``{method: (value, gradients, state)}``."""
    returned = []
    params = dict.fromkeys(states, params)
    for i in range(2):
        results = step(params, states, *batch, jax.random.fold_in(jax.random.key(0), i))
        for leaf in jax.tree.leaves(results):
            shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
            assert all(np.array_equal(shards[0], shard) for shard in shards), "the devices disagree"
        returned.append(jax.device_get(results))
        states = {name: state for name, (_, _, state) in results.items()}
        gradients = {name: gradients for name, (_, gradients, _) in results.items()}
        params = jax.tree.map(lambda w, g: w - 0.1 * g, params, gradients)
    return returned


def results_of(m, count, way):
    """Two steps of all methods on some devices, in one way."""
    start, (batch, *_) = problem()
    mesh = Mesh(np.array(jax.devices()[:count]), ("batch",))
    # In shard_map, ESAM selects among the examples of a device.
    selects = way == "jit" or (m is not None and m <= len(batch[0]) // count)
    methods = {name: registered(name, m) for name in sam.METHODS if name != "esam" or selects}
    states = {name: method.init(start) for name, method in methods.items()}

    def step(params, states, inputs, targets, key, axis_name=None):
        return {
            name: method.value_and_grad(loss, axis_name=axis_name)(params[name], states[name], inputs, targets, key=key)
            for name, method in methods.items()
        }

    if way == "jit":
        params, states = jax.device_put((start, states), NamedSharding(mesh, P()))
        batch = jax.device_put(batch, NamedSharding(mesh, P("batch")))
        return two_steps(jax.jit(step), params, states, batch)
    step = jax.shard_map(
        functools.partial(step, axis_name="batch"),
        mesh=mesh,
        in_specs=(P(), P(), P("batch"), P("batch"), P()),
        out_specs=P(),
        check_vma=way == "shard_map",
    )
    return two_steps(jax.jit(step), start, states, batch)


def difference(expected, actual):
    """The largest difference between two runs, of every method that the second has."""
    return {
        name: max(
            float(np.abs(np.asarray(x, float) - np.asarray(y, float)).max())
            for one, other in zip(expected, actual, strict=True)
            for x, y in zip(jax.tree.leaves(one[name]), jax.tree.leaves(other[name]), strict=True)
        )
        for name in actual[0]
    }


def main(m):
    """Prints ``[{"devices": ..., "way": ..., "differences": {method: ...}}, ...]``."""
    jax.config.update("jax_enable_x64", True)
    alone = results_of(m, 1, "jit")
    print(
        json.dumps(
            [
                {"devices": count, "way": way, "differences": difference(alone, results_of(m, count, way))}
                for count, way in RUNS[m]
            ]
        )
    )


if __name__ == "__main__":
    main(None if sys.argv[1] == "none" else int(sys.argv[1]))
