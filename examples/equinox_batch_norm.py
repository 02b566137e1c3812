"""SAM with an Equinox model that has batch normalization: perceptron on the handwritten digits.

SAM evaluates the loss twice per step. The running statistics must come from the first, clean evaluation, once: they
travel as auxiliary output, which ``sam.value_and_grad`` takes from the clean pass.

Run: python examples/equinox_batch_norm.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from widebasin import sam
from widebasin.data import digits


class Network(eqx.Module):
    """64 - 96 - 10 with batch normalization of the hidden layer."""

    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    last: eqx.nn.Linear

    def __init__(self, key):
        first, last = jax.random.split(key)
        self.first = eqx.nn.Linear(64, 96, use_bias=False, key=first)
        self.norm = eqx.nn.BatchNorm(96, axis_name="batch", momentum=0.9, mode="batch")
        self.last = eqx.nn.Linear(96, 10, key=last)

    def __call__(self, image, state):
        """The outputs for one image, and the state with its statistics updated."""
        hidden, state = self.norm(self.first(image), state)
        return self.last(jax.nn.relu(hidden)), state


def apply(model, state, images):
    """The outputs for a batch, and the updated statistics."""
    return jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(images, state)


def loss_fn(model, state, images, labels):
    """Mean cross entropy of a batch; the updated statistics are auxiliary output."""
    logits, state = apply(model, state, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state


# The one line to change. It was: value_and_grad = eqx.filter_value_and_grad(loss_fn, has_aux=True)
value_and_grad = sam.value_and_grad(loss_fn, has_aux=True, rho=0.05, base=eqx.filter_value_and_grad)

optimizer = optax.sgd(0.1, momentum=0.9)


@eqx.filter_jit
def train_step(model, state, optimizer_state, images, labels):
    """One step of SAM; ``state`` holds the statistics of the clean pass."""
    (loss, state), gradient = value_and_grad(model, state, images, labels)
    updates, optimizer_state = optimizer.update(gradient, optimizer_state, eqx.filter(model, eqx.is_inexact_array))
    return eqx.apply_updates(model, updates), state, optimizer_state, loss


def main():
    """Trains for 15 epochs and prints the accuracy on 360 held-out images."""
    data = digits()
    order = jax.random.permutation(jax.random.key(0), len(data))
    images, labels = jnp.asarray(data.inputs)[order], jnp.asarray(data.targets)[order]
    (train_images, test_images), (train_labels, test_labels) = jnp.split(images, [1437]), jnp.split(labels, [1437])

    model, state = eqx.nn.make_with_state(Network)(jax.random.key(1))
    optimizer_state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    for epoch in range(15):
        batches = jax.random.permutation(jax.random.key(epoch), 1437)[: 22 * 64].reshape(22, 64)
        for batch in batches:
            model, state, optimizer_state, loss = train_step(
                model, state, optimizer_state, train_images[batch], train_labels[batch]
            )
    logits, _ = apply(eqx.nn.inference_mode(model), state, test_images)
    accuracy = jnp.mean(jnp.argmax(logits, axis=1) == test_labels)
    print(f"last training loss {loss:.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
