"""PPO against plain loops: advantages, the loss and its gradient, the accounts of episodes, a step of training."""

from dataclasses import replace
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training.tasks import leaves, point

from widebasin import sam
from widebasin.data import key_for
from widebasin.environments import CartPole, Environment, Step
from widebasin.training import Model, Plan, Program, Recipe, computing_in
from widebasin.training.agent import PPO, Acting, Decisions, Episodes, ProximalPolicy, Trajectory, advantages

KEY = jax.random.key(3)
DISCOUNT, TRACE = 0.9, 0.8


class Count(NamedTuple):
    """Where a walk is: which one it is, steps taken, and how many it may take."""

    walk: jax.Array
    steps: jax.Array
    length: jax.Array


class Walk(Environment):
    """A walk of 1 to 4 steps, cut off if it could go on after 3; the reward is 1 more at every step."""

    actions: ClassVar[int] = 2
    longest: ClassVar[int] = 3

    def reset(self, key):
        walk, length = jax.random.split(key)
        return Count(jax.random.uniform(walk), jnp.zeros((), int), jax.random.randint(length, (), 1, 5))

    def observe(self, state):
        return jnp.stack([state.walk, state.steps, state.length]).astype(float)

    def step(self, state, action, key):
        steps = state.steps + 1
        terminated = steps >= state.length
        after = state._replace(steps=steps)
        return Step(after, steps.astype(float), terminated, (steps >= self.longest) & ~terminated)


class Agent(eqx.Module):
    """A linear policy and a linear critic."""

    policy: jax.Array
    critic: jax.Array

    def __init__(self, key, inputs=3):
        one, other = jax.random.split(key)
        self.policy = 0.5 * jax.random.normal(one, (2, inputs))
        self.critic = 0.5 * jax.random.normal(other, (inputs,))

    def __call__(self, observation):
        return self.policy @ observation, self.critic @ observation


RECIPE = Recipe(epochs=2, batch_size=12, learning_rate=0.05)
PROBLEM = ProximalPolicy(Agent, Walk(), RECIPE, PPO(environments=4, rollout=6, passes=2, episodes=5))


def model_of(problem, key=KEY):
    model = problem.build(key)
    return Model(jax.tree.map(lambda leaf: leaf.astype(float), eqx.filter(model, eqx.is_array)), [])


# Advantages -----------------------------------------------------------------------------------------------------------


def by_hand(rewards, values, next_values, terminated, ended):
    """The definition: the discounted sum of the differences until the episode ends."""
    steps, count = rewards.shape
    found = np.zeros((steps, count))
    for environment in range(count):
        for start in range(steps):
            weight = 1.0
            for t in range(start, steps):
                after = 0 if terminated[t, environment] else next_values[t, environment]
                difference = rewards[t, environment] + DISCOUNT * after - values[t, environment]
                found[start, environment] += weight * difference
                if ended[t, environment]:
                    break
                weight *= DISCOUNT * TRACE
    return found


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 5, 8]), st.sampled_from([1, 3]))
def test_advantages_are_the_discounted_sums_of_differences_until_the_episode_ends(seed, steps, count):
    random = np.random.default_rng(seed)
    rewards, values, next_values = random.normal(size=(3, steps, count))
    terminated = random.random((steps, count)) < 0.3
    ended = terminated | (random.random((steps, count)) < 0.3)
    with jax.enable_x64(True):
        nothing = jnp.zeros((steps, count))
        trajectory = Trajectory(nothing, nothing, nothing, values, rewards, terminated, ended, next_values)
        found = advantages(trajectory, DISCOUNT, TRACE)
        np.testing.assert_allclose(found, by_hand(rewards, values, next_values, terminated, ended), atol=1e-12)


# The loss -------------------------------------------------------------------------------------------------------------


def decisions(size=40):
    """Such that some ratios are within the range, and some beyond it to both sides."""
    random = np.random.default_rng(5)
    return Decisions(
        random.normal(size=(size, 3)),
        random.integers(0, 2, size),
        np.log(random.uniform(0.2, 0.9, size)),
        random.normal(size=size),
        random.normal(size=size),
        random.normal(size=size),
        np.zeros(size),
    )


def losses_by_hand(policy, critic, batch, ppo):
    """The means of the policy's and of the critic's part."""
    of_policy = of_critic = 0.0
    for seen, action, before, old, advantage, target, _ in zip(*batch, strict=True):
        scores = np.exp(policy @ seen)
        chances = scores / scores.sum()
        ratio = chances[action] / np.exp(before)
        kept = min(max(ratio, 1 - ppo.ratio_range), 1 + ppo.ratio_range)
        of_policy += max(-advantage * ratio, -advantage * kept)
        of_policy += ppo.entropy_weight * float(chances @ np.log(chances))
        errors = [(critic @ seen - target) ** 2]
        if ppo.clip_values:
            clipped = old + min(max(critic @ seen - old, -ppo.ratio_range), ppo.ratio_range)
            errors.append((clipped - target) ** 2)
        of_critic += ppo.value_weight * max(errors) / 2
    return of_policy / len(batch.actions), of_critic / len(batch.actions)


@pytest.mark.parametrize("clip_values", [True, False])
@pytest.mark.parametrize("ascent", ["loss", "policy"])
def test_the_loss_and_its_gradient_are_those_of_the_definition(clip_values, ascent):
    """Of the minimized quantity and of what the ascent climbs; gradients against central differences by hand."""
    ppo = replace(PROBLEM.ppo, entropy_weight=0.3, clip_values=clip_values)
    problem = replace(PROBLEM, ppo=ppo, ascent=ascent, recipe=replace(RECIPE, precision="float64"))
    with computing_in("float64"):
        model, rows = model_of(problem), decisions()
        batch = jax.tree.map(jnp.asarray, rows)

        def minimized(params):
            totals, _ = problem.losses(Model(params, []), {}, batch, None, training=True)
            return problem.minimized(totals, {})

        def climbed(params):
            totals, _ = problem.losses(Model(params, []), {}, batch, None, training=True)
            return problem.climbed(totals, {}) if problem.climbs else problem.minimized(totals, {})

        policy, critic = (np.array(leaf, float) for leaf in (model.params.policy, model.params.critic))
        each = problem.example_losses(model, {}, batch, None)
        assert float(each.mean()) == pytest.approx(sum(losses_by_hand(policy, critic, rows, ppo)), rel=1e-10)
        for function, parts in ((minimized, 2), (climbed, 1 if ascent == "policy" else 2)):

            def by_hand(parts=parts):
                return sum(losses_by_hand(policy, critic, rows, ppo)[:parts])

            value, gradient = jax.value_and_grad(function)(model.params)
            assert float(value) == pytest.approx(by_hand(), rel=1e-10)
            for array, found in ((policy, gradient.policy), (critic, gradient.critic)):
                for place in np.ndindex(array.shape):
                    before, ends = array[place], []
                    for shift in (1e-6, -1e-6):
                        array[place] = before + shift
                        ends.append(by_hand())
                    array[place] = before
                    assert float(found[place]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)


# Episodes -------------------------------------------------------------------------------------------------------------


def test_a_rollout_has_every_step_of_every_episode_and_its_return():
    problem = replace(PROBLEM, ppo=replace(PROBLEM.ppo, rollout=30))
    model, carry = model_of(problem), problem.carry({}, KEY)
    returns, so_far = [], np.zeros(4)
    for number in range(3):
        before = [np.asarray(leaf) for leaf in carry.states]
        carry, rows = problem.act(model, carry, jax.random.fold_in(KEY, number))
        rows = jax.tree.map(np.asarray, rows)
        np.testing.assert_allclose(rows.observations[0], np.stack(before, axis=1), rtol=1e-6)
        ended_here = []
        for t in range(30):
            for e in range(4):
                _, taken, length = rows.observations[t, e]
                assert rows.rewards[t, e] == taken + 1
                assert rows.terminated[t, e] == (taken + 1 >= length)
                assert rows.ended[t, e] == (taken + 1 >= min(length, 3))
                so_far[e] += rows.rewards[t, e]
                if rows.ended[t, e]:
                    ended_here.append(so_far[e])
                    so_far[e] = 0
                if t + 1 < 30:
                    assert rows.observations[t + 1, e, 1] == (0 if rows.ended[t, e] else taken + 1)
        returns += ended_here
        assert float(carry.last_return) == pytest.approx(np.mean(ended_here))
        np.testing.assert_array_equal(carry.so_far, so_far)
        # The critic is asked about the state that the action led to, also where the episode was cut off there.
        after = rows.observations + np.array([0, 1, 0])
        np.testing.assert_allclose(rows.next_values, after @ np.asarray(model.params.critic), rtol=1e-5)
        logits = rows.observations @ np.asarray(model.params.policy).T
        chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        drawn = np.take_along_axis(chances, rows.actions[..., None], axis=-1)[..., 0]
        np.testing.assert_allclose(rows.log_probabilities, np.log(drawn), rtol=1e-4, atol=1e-5)
    assert set(returns) == {1, 3, 6}  # the sums of 1, of 1 and 2, of 1 to 3


def test_without_an_episode_that_ends_the_last_return_stays():
    problem = replace(PROBLEM, environment=CartPole(), build=lambda key: Agent(key, 4))
    carry = problem.carry({}, KEY)._replace(last_return=jnp.asarray(7.0))
    after, rows = problem.act(model_of(problem), carry, KEY)
    assert not rows.ended.any()
    assert (float(after.last_return), after.so_far.tolist()) == (7.0, [6.0] * 4)
    assert isinstance(after, Acting)


def test_an_epoch_has_every_decision_once_in_every_pass():
    model, carry = model_of(PROBLEM), PROBLEM.carry({}, KEY)
    after, batches = PROBLEM.epoch((), {}, carry, model, KEY, jnp.asarray(4))
    assert batches.actions.shape == (PROBLEM.steps_per_epoch, 12) == (4, 12)
    _, rows = PROBLEM.act(model, carry, key_for(jax.random.fold_in(key_for(KEY, "rollout"), 4), "actions"))
    targets = np.asarray(advantages(rows, PROBLEM.ppo.discount, PROBLEM.ppo.trace) + rows.values)
    for half in (slice(0, 2), slice(2, 4)):
        np.testing.assert_allclose(np.sort(batches.targets[half].ravel()), np.sort(targets.ravel()), rtol=1e-5)
    np.testing.assert_allclose(batches.advantages.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(batches.advantages.std(1, ddof=1), 1, atol=1e-5)
    np.testing.assert_array_equal(batches.returns, np.full((4, 12), float(after.last_return), np.float32))


def test_an_evaluation_plays_the_same_episodes_to_their_end_every_time():
    model = model_of(PROBLEM)
    blocks = {part: jax.tree.map(lambda leaf: leaf[0], PROBLEM.blocks(part)) for part in ("train", "valid", "test")}
    numbers = [set(block.numbers.tolist()) for block in blocks.values()]
    assert len(set.union(*numbers)) == 15
    many = Episodes(np.arange(300, dtype=np.int32))
    returns = np.asarray(PROBLEM.returns(model, many))
    lengths = np.bincount(returns.astype(int), minlength=7)[[1, 3, 6]] / 300
    np.testing.assert_allclose(lengths, [1 / 4, 1 / 4, 1 / 2], atol=0.1)
    np.testing.assert_array_equal(PROBLEM.returns(model, Episodes(many.numbers[40:50])), returns[40:50])
    totals, _ = PROBLEM.losses(model, {}, many, None, training=False)
    assert float(totals["return"][0]) == returns.sum()
    assert [float(weight) for _, weight in (totals["return"], totals["loss"])] == [300, 0]


# Training -------------------------------------------------------------------------------------------------------------


def trained(points, method, epochs=2, at_once=None):
    program = Program(PROBLEM, method, Plan(at_once or len(points), "scan", "cpu"))
    state, source, hyperparameters = program.start(points)
    for epoch in range(epochs):
        state, metrics = program.epoch(state, source, hyperparameters, last=epoch == epochs - 1)
    return state, metrics


@pytest.mark.slow
def test_networks_train_together_as_they_do_alone_and_sam_at_radius_zero_is_the_base_optimizer():
    points = [point(rho=rho, seed=seed) for rho in (0.0, 0.2) for seed in (0, 1)]
    together, metrics = trained(points, sam.SAM)
    alone, own = trained(points[3:], sam.SAM)
    for one, other in zip(leaves(together), leaves(alone), strict=True):
        np.testing.assert_allclose(one[3], other[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["valid_return"][3], own["valid_return"][0])
    base, _ = trained(points[:2], lambda rho: sam.SGD())
    for one, other in zip(leaves(together), leaves(base), strict=True):
        np.testing.assert_allclose(one[:2], other, rtol=1e-5, atol=1e-6)
        assert not np.allclose(one[0], one[2], atol=1e-4)
    assert {"train_loss", "train_return", "valid_return", "test_return", "final_train_return"} <= set(metrics)


@pytest.mark.slow
def test_groups_microbatches_and_single_steps_change_nothing():
    """Ascents on groups of 3 are those of 4 smaller problems; the rest is a matter of speed."""
    points = [point(rho=0.2, seed=4)]

    def params(method, plan):
        program = Program(replace(PROBLEM, ascent="policy"), method, plan)
        state, source, hyperparameters = program.start(points)
        state, _ = program.epoch(state, source, hyperparameters, last=True)
        return leaves(state)

    whole = params(sam.SAM, Plan(1, "scan", "cpu"))
    grouped = params(lambda rho: sam.SAM(rho, m=3), Plan(1, "scan", "cpu"))
    assert not all(np.allclose(one, other, atol=1e-5) for one, other in zip(whole, grouped, strict=True))
    for plan in (Plan(1, "step", "cpu"), Plan(1, "scan", "cpu", microbatch=4)):
        for one, other in zip(whole, params(sam.SAM, plan), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loop", ["scan", pytest.param("step", marks=pytest.mark.slow)])
def test_an_epoch_of_several_rollouts_is_as_many_epochs_of_one(loop):
    points = [point(rho=0.2, seed=4)]

    def after(epochs, rollouts):
        problem = replace(PROBLEM, recipe=replace(RECIPE, epochs=epochs), ppo=replace(PROBLEM.ppo, rollouts=rollouts))
        program = Program(problem, sam.SAM, Plan(1, loop, "cpu"))
        state, source, hyperparameters = program.start(points)
        losses = []
        for _ in range(epochs):
            state, metrics = program.epoch(state, source, hyperparameters, last=False)
            losses.append(metrics["train_loss"])
        return state, np.mean(losses), metrics["valid_return"]

    one, loss, judged = after(1, 3)
    three, own_loss, own_judged = after(3, 1)
    for mine, other in zip(jax.tree.leaves(one.params), jax.tree.leaves(three.params), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    for mine, other in zip(jax.tree.leaves(one.carry), jax.tree.leaves(three.carry), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    assert (loss, judged) == (pytest.approx(own_loss, rel=1e-4), own_judged)


def test_minibatches_that_do_not_divide_a_rollout_are_refused():
    with pytest.raises(
        ValueError, match=r"batch_size must divide the 24 decisions of a rollout \(4 environments x 6 steps\)"
    ):
        replace(PROBLEM, recipe=replace(RECIPE, batch_size=7))


def test_an_ascent_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="ascent must be"):
        replace(PROBLEM, ascent="up")
