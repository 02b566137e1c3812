"""PPO on CartPole as one would write it in one file of JAX: the whole training in one program, one network per lane.

The structure is that of purejaxrl (Lu et al. 2022): loops over updates, steps, passes and minibatches within each
other. There are no checkpoints, no evaluation and no methods; the optimizer is Adam.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from widebasin.environments import CartPole
from widebasin.models import ActorCritic

ENVIRONMENTS, ROLLOUT, PASSES, BATCH = 8, 128, 4, 256
DISCOUNT, TRACE, CLIP, ENTROPY, VALUE, RATE = 0.99, 0.95, 0.2, 0.01, 0.5, 2.5e-3
GAME = CartPole()


def log_probability(logits: Any, actions: Any) -> Any:
    """Of the actions taken."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), actions[:, None], axis=1)[:, 0]


def loss(model: Any, batch: Any) -> Any:
    """Clipped ratios and values, entropy."""
    observations, actions, before, old, advantages, targets = batch
    logits, values = jax.vmap(model)(observations)
    ratios = jnp.exp(log_probability(logits, actions) - before)
    advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
    policy = jnp.maximum(-advantages * ratios, -advantages * jnp.clip(ratios, 1 - CLIP, 1 + CLIP))
    clipped = old + jnp.clip(values - old, -CLIP, CLIP)
    critic = 0.5 * jnp.maximum((values - targets) ** 2, (clipped - targets) ** 2)
    logs = jax.nn.log_softmax(logits)
    entropy = -(jnp.exp(logs) * logs).sum(axis=1)
    return (policy + VALUE * critic - ENTROPY * entropy).mean()


def untrained(width: int, keys: Any) -> Any:
    """Agents side by side, initialized in turn: under vmap their factorizations would wait for each other for ever."""
    return jax.lax.map(lambda key: ActorCritic(4, GAME.actions, width, key=key), keys)


def trained(updates: int, model: Any, key: Any) -> Any:
    """The mean return of the episodes that ended in each update."""
    start, key = jax.random.split(key)
    steps = updates * PASSES * ENVIRONMENTS * ROLLOUT // BATCH
    optimizer = optax.chain(
        optax.clip_by_global_norm(0.5), optax.adam(optax.linear_schedule(RATE, 0.0, steps), eps=1e-5)
    )
    states = jax.vmap(GAME.reset)(jax.random.split(start, ENVIRONMENTS))

    def step(carry: Any, key: Any) -> Any:
        model, states, so_far = carry
        draw, begin = jax.random.split(key)
        observations = jax.vmap(GAME.observe)(states)
        logits, values = jax.vmap(model)(observations)
        actions = jax.random.categorical(draw, logits)
        found = jax.vmap(lambda state, action: GAME.step(state, action, key))(states, actions)
        ended = found.terminated | found.truncated
        fresh = jax.vmap(GAME.reset)(jax.random.split(begin, ENVIRONMENTS))
        states = jax.tree.map(
            lambda new, old: jnp.where(ended.reshape(-1, *[1] * (new.ndim - 1)), new, old), fresh, found.state
        )
        reached = so_far + found.reward
        row = (observations, actions, log_probability(logits, actions), values, found.reward, ended, reached)
        return (model, states, jnp.where(ended, 0, reached)), row

    def minibatch(carry: Any, batch: Any) -> Any:
        model, memory = carry
        updates, memory = optimizer.update(jax.grad(loss)(model, batch), memory, model)
        return (optax.apply_updates(model, updates), memory), None

    def update(carry: Any, key: Any) -> Any:
        model, memory, states, so_far = carry
        acting, *orders = jax.random.split(key, 1 + PASSES)
        (_, states, so_far), rows = jax.lax.scan(step, (model, states, so_far), jax.random.split(acting, ROLLOUT))
        observations, actions, before, values, rewards, ended, reached = rows
        last = jax.vmap(model)(jax.vmap(GAME.observe)(states))[1]

        def back(carry: Any, row: Any) -> Any:
            advantage, after = carry
            reward, value, over = row
            difference = reward + DISCOUNT * after * ~over - value
            advantage = difference + DISCOUNT * TRACE * ~over * advantage
            return (advantage, value), advantage

        _, advantages = jax.lax.scan(back, (jnp.zeros_like(last), last), (rewards, values, ended), reverse=True)
        rows = (observations, actions, before, values, advantages, advantages + values)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)
        for order in orders:
            positions = jax.random.permutation(order, len(flat[1])).reshape(-1, BATCH)
            batches = jax.tree.map(lambda leaf, at=positions: leaf[at], flat)
            (model, memory), _ = jax.lax.scan(minibatch, (model, memory), batches)
        mean = (reached * ended).sum() / jnp.maximum(ended.sum(), 1)
        return (model, memory, states, so_far), mean

    carry = (model, optimizer.init(model), states, jnp.zeros(ENVIRONMENTS))  # pyright: ignore[reportArgumentType]
    return jax.lax.scan(update, carry, jax.random.split(key, updates))[1]
