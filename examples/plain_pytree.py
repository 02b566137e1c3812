"""SAM in a training loop with plain pytrees and optax: a small perceptron on the handwritten digits.

Run: python examples/plain_pytree.py
"""

import jax
import jax.numpy as jnp
import optax

from widebasin import sam
from widebasin.data import digits


def init(key):
    """Weights and biases of 64 - 96 - 32 - 10, as a list of dictionaries."""
    sizes = (64, 96, 32, 10)
    return [
        {"weight": jnp.sqrt(2 / m) * jax.random.normal(k, (m, n)), "bias": jnp.zeros(n)}
        for k, m, n in zip(jax.random.split(key, 3), sizes[:-1], sizes[1:], strict=True)
    ]


def logits_of(params, images):
    """The network's outputs for a batch of images."""
    for layer in params[:-1]:
        images = jax.nn.relu(images @ layer["weight"] + layer["bias"])
    return images @ params[-1]["weight"] + params[-1]["bias"]


def loss_fn(params, images, labels):
    """Mean cross entropy of a batch."""
    return optax.softmax_cross_entropy_with_integer_labels(logits_of(params, images), labels).mean()


# The one line to change. It was: value_and_grad = jax.value_and_grad(loss_fn)
value_and_grad = sam.value_and_grad(loss_fn, rho=0.05)

optimizer = optax.sgd(0.1, momentum=0.9)


@jax.jit
def train_step(params, optimizer_state, images, labels):
    """One step of SAM: the loss at the parameters, the gradient from the ascent point, then any optimizer."""
    loss, gradient = value_and_grad(params, images, labels)
    updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
    return optax.apply_updates(params, updates), optimizer_state, loss


def main():
    """Trains for 20 epochs and prints the accuracy on 360 held-out images."""
    data = digits()
    order = jax.random.permutation(jax.random.key(0), len(data))
    images, labels = jnp.asarray(data.inputs)[order], jnp.asarray(data.targets)[order]
    (train_images, test_images), (train_labels, test_labels) = jnp.split(images, [1437]), jnp.split(labels, [1437])

    params = init(jax.random.key(1))
    optimizer_state = optimizer.init(params)
    for epoch in range(20):
        batches = jax.random.permutation(jax.random.key(epoch), 1437)[: 22 * 64].reshape(22, 64)
        for batch in batches:
            params, optimizer_state, loss = train_step(
                params, optimizer_state, train_images[batch], train_labels[batch]
            )
    accuracy = jnp.mean(jnp.argmax(logits_of(params, test_images), axis=1) == test_labels)
    print(f"last training loss {loss:.4f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
