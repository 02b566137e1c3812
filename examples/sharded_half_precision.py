"""SAM on all devices, in float16: a perceptron on the handwritten digits.

The batch is split over the devices by ``jax.shard_map``; ``axis_name`` makes the ascent that of groups of ``m``
examples whatever the number of devices. The loss is computed in float16 with a dynamic scale, and steps that overflow
in either pass are skipped within the compiled step.

Run: python examples/sharded_half_precision.py
"""

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from widebasin import sam
from widebasin.data import digits

BATCH_SIZE = 64
mesh = Mesh(jax.devices(), ("batch",))
method = sam.SAM(rho=0.05, m=32)  # or any other
optimizer = optax.sgd(0.1, momentum=0.9)


def init(key):
    """Weights and biases of 64 - 96 - 10 in float32."""
    keys = jax.random.split(key)
    return {
        "hidden": {"weight": jax.random.normal(keys[0], (64, 96)) / 6, "bias": jnp.zeros(96)},
        "head": {"weight": jax.random.normal(keys[1], (96, 10)) / 7, "bias": jnp.zeros(10)},
    }


def logits_of(params, images):
    """The network's outputs for a batch of images, in their precision."""
    hidden = jax.nn.relu(images @ params["hidden"]["weight"] + params["hidden"]["bias"])
    return hidden @ params["head"]["weight"] + params["head"]["bias"]


def loss_fn(params, images, labels):
    """Mean cross entropy of a batch: the network in float16, the loss in float32."""
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), (params, images))
    logits = logits_of(*half).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def step_on_one_device(params, optimizer_state, method_state, loss_scale, images, labels):
    """One step, as it runs on every device with its share of the batch."""
    value_and_grad = method.value_and_grad(loss_fn, base=loss_scale.scaled(), axis_name="batch")
    loss, gradients, method_state = value_and_grad(params, method_state, images, labels)
    finite, loss_scale = loss_scale.adjusted(gradients)
    updates, new_state = optimizer.update(gradients, optimizer_state, params)
    params, optimizer_state = sam.keep_if(
        finite, (optax.apply_updates(params, updates), new_state), (params, optimizer_state)
    )
    return (params, optimizer_state, method_state, loss_scale), loss


everywhere, split = PartitionSpec(), PartitionSpec("batch")
train_step = jax.jit(
    jax.shard_map(
        step_on_one_device,
        mesh=mesh,
        in_specs=(everywhere, everywhere, everywhere, everywhere, split, split),
        out_specs=everywhere,
    )
)


def start(key):
    """Parameters and the states of optimizer, method and loss scale."""
    params = init(key)
    return params, optimizer.init(params), method.init(params), sam.DynamicLossScale.starting_at(2.0**15)


def main():
    """Trains for 20 epochs and prints the accuracy on 360 held-out images."""
    data = digits()
    order = jax.random.permutation(jax.random.key(0), len(data))
    images, labels = jnp.asarray(data.inputs)[order], jnp.asarray(data.targets)[order]
    (train_images, test_images), (train_labels, test_labels) = jnp.split(images, [1437]), jnp.split(labels, [1437])

    carry = start(jax.random.key(1))
    for epoch in range(20):
        batches = jax.random.permutation(jax.random.key(epoch), 1437)[: 22 * BATCH_SIZE].reshape(22, BATCH_SIZE)
        for batch in batches:
            carry, loss = train_step(*carry, train_images[batch], train_labels[batch])
    accuracy = jnp.mean(jnp.argmax(logits_of(carry[0], test_images), axis=1) == test_labels)
    print(f"last training loss {loss:.4f}, loss scale {carry[3].scale:.0f}, test accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
