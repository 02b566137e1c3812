"""Trains the same networks on 1, 2 and 4 devices, and prints how far each run is from the one on one device.

The number of devices is fixed when JAX starts, so this is a program: ``python -m training.devices``. It computes in
double precision, and without optimizations, since compilation is most of the time.
"""

import json
import os

from compiling import xla_flags

os.environ["XLA_FLAGS"] = xla_flags(4)

from dataclasses import replace

import jax
import numpy as np
from training.tasks import DIGITS, FEW, point, residual

from widebasin import sam
from widebasin.training import Plan, Program, Recipe

RECIPE = Recipe(epochs=2, batch_size=20, learning_rate=0.1, precision="float64")
DENSE = replace(DIGITS, recipe=RECIPE, sizes=FEW)
RESIDUAL = residual(RECIPE)
ONE = [point(rho=0.1, seed=1, label_noise=0.2)]
FOUR = [
    point(rho=0.1, seed=1, label_noise=0.2),
    point(rho=0.3, seed=1),
    point(rho=0.1, seed=2, sparsity=0.5, pruner="random"),
    point(rho=0.1, seed=3, learning_rate=0.01),
]
# Name -> (task, method, networks, loop, numbers of devices). Of a batch of 20, a group of 10 is on two of four devices.
RUNS = {
    "dense": (DENSE, sam.SAM, ONE, "scan", (1, 4)),
    "dense, m = 10": (DENSE, lambda rho: sam.SAM(rho, m=10), ONE, "scan", (1, 4)),
    "dense, four networks": (DENSE, sam.SAM, FOUR, "scan", (1, 2, 4)),
    "residual": (RESIDUAL, sam.SAM, ONE, "step", (1, 2, 4)),
}


def trained(name, devices):
    """Parameters, batch statistics and metrics after an epoch, and the share of the networks that a device holds."""
    task, method, networks, loop, _ = RUNS[name]
    program = Program(task, method, Plan(len(networks), loop, "cpu", devices))
    state, examples, hyperparameters = program.start(networks)
    state, metrics = program.epoch(state, examples, hyperparameters, last=False)
    leaf = jax.tree.leaves(state.params)[0]
    shares = [shard.data.shape[0] / leaf.shape[0] for shard in leaf.addressable_shards]
    return jax.device_get({"params": state.params, "statistics": state.model, "metrics": metrics}), shares


def difference(one, other):
    """The largest difference between two trees of numbers; NaN equals NaN."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max((float(np.abs(np.nan_to_num(x) - np.nan_to_num(y)).max()) for x, y in pairs), default=0.0)


def main():
    """Prints ``[{"run": ..., "devices": ..., "shares": [...], "differences": {...}, "gradient_norm": ...}, ...]``."""
    jax.config.update("jax_enable_x64", True)
    found = []
    for name, (*_, counts) in RUNS.items():
        alone, _ = trained(name, counts[0])
        for devices in counts[1:]:
            several, shares = trained(name, devices)
            found.append(
                {
                    "run": name,
                    "devices": devices,
                    "shares": shares,
                    "differences": {part: difference(alone[part], several[part]) for part in alone},
                    "statistics": len(alone["statistics"]),
                    "gradient_norm": float(alone["metrics"]["gradient_norm"].min()),
                }
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
