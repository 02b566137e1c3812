"""SAM with a Flax NNX model that has batch normalization: perceptron on the handwritten digits.

``nnx.split`` separates the parameters from the running statistics. SAM evaluates the loss twice per step; the
statistics must come from the first, clean evaluation, once: they travel as auxiliary output, which
``sam.value_and_grad`` takes from the clean pass.

Run: python examples/flax_nnx.py (needs flax)
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from widebasin import sam
from widebasin.data import digits


class Network(nnx.Module):
    """64 - 96 - 10 with batch normalization of the hidden layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, 96, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(96, momentum=0.9, rngs=rngs)
        self.last = nnx.Linear(96, 10, rngs=rngs)

    def __call__(self, images):
        """The outputs for a batch; in training mode the statistics are updated in place."""
        return self.last(jax.nn.relu(self.norm(self.first(images))))


graph, initial_params, initial_statistics = nnx.split(Network(nnx.Rngs(1)), nnx.Param, nnx.BatchStat)


def loss_fn(params, statistics, images, labels):
    """Mean cross entropy of a batch; the updated statistics are auxiliary output."""
    # A copy: the model updates its own statistics in place and leaves those passed in as they were.
    model = nnx.merge(graph, params, statistics, copy=True)
    loss = optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()
    return loss, nnx.state(model, nnx.BatchStat)


# The one line to change. It was: value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
value_and_grad = sam.value_and_grad(loss_fn, has_aux=True, rho=0.05)

optimizer = optax.sgd(0.1, momentum=0.9)


@jax.jit
def train_step(params, statistics, optimizer_state, images, labels):
    """One step of SAM; the statistics returned are those of the clean pass."""
    (loss, statistics), gradient = value_and_grad(params, statistics, images, labels)
    updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
    return optax.apply_updates(params, updates), statistics, optimizer_state, loss


def main():
    """Trains for 15 epochs and prints the accuracy on 360 held-out images."""
    data = digits()
    order = jax.random.permutation(jax.random.key(0), len(data))
    images, labels = jnp.asarray(data.inputs)[order], jnp.asarray(data.targets)[order]
    (train_images, test_images), (train_labels, test_labels) = jnp.split(images, [1437]), jnp.split(labels, [1437])

    params, statistics = initial_params, initial_statistics
    optimizer_state = optimizer.init(params)
    for epoch in range(15):
        batches = jax.random.permutation(jax.random.key(epoch), 1437)[: 22 * 64].reshape(22, 64)
        for batch in batches:
            params, statistics, optimizer_state, loss = train_step(
                params, statistics, optimizer_state, train_images[batch], train_labels[batch]
            )
    model = nnx.merge(graph, params, statistics)
    model.eval()
    accuracy = jnp.mean(jnp.argmax(model(test_images), axis=1) == test_labels)
    print(f"last training loss {loss:.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
