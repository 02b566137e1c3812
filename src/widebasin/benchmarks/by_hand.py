"""The main job written by hand: the grid of digits-mlp in plain JAX and optax, without this package.

Per width, 35 networks (radius 0 and six others x five seeds) in one vmapped program that scans epochs and steps; then
the same statistic: the gain at the radius that is best on validation. ``python by_hand.py WIDTH ... --epochs 60``.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

RADII, SEEDS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5), 5
TRAIN, VALID, BATCH, NOISE = 1_000, 300, 100, 0.3


def initialize(key, sizes):
    """He initialization of an MLP."""
    keys = jax.random.split(key, len(sizes) - 1)
    shapes = zip(keys, sizes, sizes[1:], strict=False)
    return [(jax.random.normal(k, (a, b)) * jnp.sqrt(2 / a), jnp.zeros(b)) for k, a, b in shapes]


def logits(params, x):
    """The logits of a batch."""
    for weight, bias in params[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    return x @ params[-1][0] + params[-1][1]


def loss(params, x, y):
    """Mean cross entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y).mean()


def train(inputs, labels, rho, seed, width, epochs):
    """Validation and test accuracy of one network after the last epoch."""
    split_key, noise_key, init_key, order_key = jax.random.split(jax.random.key(seed), 4)
    order = jax.random.permutation(split_key, len(inputs))
    train_at, valid_at, test_at = order[:TRAIN], order[TRAIN : TRAIN + VALID], order[TRAIN + VALID :]
    which, shift = jax.random.split(noise_key)
    wrong = jax.random.permutation(which, TRAIN) < NOISE * TRAIN
    noisy = (labels[train_at] + wrong * jax.random.randint(shift, (TRAIN,), 1, 10)) % 10
    steps = epochs * TRAIN // BATCH
    schedule = optax.piecewise_constant_schedule(0.1, {steps // 2: 0.1, 3 * steps // 4: 0.1})
    optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(schedule, momentum=0.9))
    params = initialize(init_key, (64, 3 * width, width, 10))

    def step(carry, batch):
        params, state = carry
        x, y = inputs[train_at[batch]], noisy[batch]
        gradient = jax.grad(loss)(params, x, y)
        scale = rho / jnp.maximum(optax.tree.norm(gradient), 1e-12)
        gradient = jax.grad(loss)(jax.tree.map(lambda w, g: w + scale * g, params, gradient), x, y)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    def epoch(carry, key):
        batches = jax.random.permutation(key, TRAIN).reshape(-1, BATCH)
        return jax.lax.scan(step, carry, batches)[0], None

    (params, _), _ = jax.lax.scan(epoch, (params, optimizer.init(params)), jax.random.split(order_key, epochs))
    return [jnp.mean(logits(params, inputs[at]).argmax(1) == labels[at]) for at in (valid_at, test_at)]


def main():
    """Prints the gain of every width."""
    parser = argparse.ArgumentParser()
    parser.add_argument("widths", type=int, nargs="*", default=(4, 8, 16, 32, 64, 128))
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    pixels, labels = map(jnp.asarray, load_digits(return_X_y=True))
    inputs = pixels / 16
    rhos, seeds = (jnp.asarray(axis).ravel() for axis in np.meshgrid(RADII, np.arange(SEEDS), indexing="ij"))
    for width in arguments.widths:
        one = functools.partial(train, width=width, epochs=arguments.epochs)
        program = jax.jit(jax.vmap(one, in_axes=(None, None, 0, 0)))
        valid, test = (np.asarray(part).reshape(len(RADII), SEEDS) for part in program(inputs, labels, rhos, seeds))
        best = 1 + valid[1:].mean(1).argmax()
        print(
            f"width {width}: gain {100 * (test[best] - test[0]).mean():+.1f} points at rho {RADII[best]:g}", flush=True
        )


if __name__ == "__main__":
    main()
