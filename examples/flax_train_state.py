"""SAM in a training loop of Flax's ``TrainState``: a linen perceptron with dropout on the handwritten digits.

``state.apply_gradients`` applies SAM's gradient as it does any other. The key of dropout is an argument of the loss, so
that both passes drop the same units.

Run: python examples/flax_train_state.py (needs flax)
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

from widebasin import sam
from widebasin.data import digits


class Network(nn.Module):
    """64 - 96 - 10 with dropout of the hidden layer."""

    @nn.compact
    def __call__(self, images, train):
        """The outputs for a batch."""
        hidden = nn.Dropout(0.1, deterministic=not train)(nn.relu(nn.Dense(96)(images)))
        return nn.Dense(10)(hidden)


@jax.jit
def train_step(state, images, labels, key):
    """One step of SAM."""

    def loss_fn(params, images, labels):
        logits = state.apply_fn({"params": params}, images, train=True, rngs={"dropout": key})
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    # The one line to change. It was: value_and_grad = jax.value_and_grad(loss_fn)
    value_and_grad = sam.value_and_grad(loss_fn, rho=0.05)
    loss, gradients = value_and_grad(state.params, images, labels)
    return state.apply_gradients(grads=gradients), loss


def main():
    """Trains for 15 epochs and prints the accuracy on 360 held-out images."""
    data = digits()
    order = jax.random.permutation(jax.random.key(0), len(data))
    images, labels = jnp.asarray(data.inputs)[order], jnp.asarray(data.targets)[order]
    (train_images, test_images), (train_labels, test_labels) = jnp.split(images, [1437]), jnp.split(labels, [1437])

    network = Network()
    params = network.init(jax.random.key(1), images[:1], train=False)["params"]
    state = TrainState.create(apply_fn=network.apply, params=params, tx=optax.sgd(0.1, momentum=0.9))
    for epoch in range(15):
        batches = jax.random.permutation(jax.random.key(epoch), 1437)[: 22 * 64].reshape(22, 64)
        for batch in batches:
            key = jax.random.fold_in(jax.random.key(2), state.step)
            state, loss = train_step(state, train_images[batch], train_labels[batch], key)
    logits = network.apply({"params": state.params}, test_images, train=False)
    accuracy = jnp.mean(jnp.argmax(logits, axis=1) == test_labels)
    print(f"last training loss {loss:.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
