"""MinAtar against pgx itself."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.environments import MinAtar
from widebasin.environments.minatar import GAMES
from widebasin.training import Checkpoints

KEY = jax.random.key(5)


@pytest.mark.parametrize("game", [GAMES[1], *(pytest.param(one, marks=pytest.mark.slow) for one in GAMES[::2])])
def test_steps_are_those_of_pgx_until_the_end(game):
    """Random actions in several episodes; Freeway goes on for 2,500 steps and is cut off, the others end."""
    pgx = pytest.importorskip("pgx")
    environment, theirs = MinAtar(game, longest=3_000), pgx.make(f"minatar-{game}")
    assert environment.actions == theirs.num_actions

    def episode(key):
        def both(states, number):
            mine, other = states
            action_key, own = jax.random.split(jax.random.fold_in(key, number))
            action = jax.random.randint(action_key, (), 0, environment.actions)
            found, other = environment.step(mine, action, own), theirs.step(other, action, own)
            same = (environment.observe(found.state) == other.observation).all() & (found.reward == other.rewards[0])
            return (found.state, other), (same, found.reward, found.terminated, found.truncated, other.terminated)

        return jax.lax.scan(both, (environment.reset(key), theirs.init(key)), jnp.arange(2_600))[1]

    rows = jax.jit(jax.vmap(episode))(jax.random.split(KEY, 8))
    timed, rewards = game == "freeway", 0.0
    for same, reward, terminated, truncated, their_end in zip(*map(np.asarray, rows), strict=True):
        last = int(their_end.argmax())
        assert their_end[last]
        assert same[: last + 1].all()
        assert not (terminated | truncated)[:last].any()
        assert (bool(terminated[last]), bool(truncated[last])) == (not timed, timed)
        assert (last >= 2_400) == timed
        rewards += reward[: last + 1].sum()
    assert rewards > 0 or timed


def test_an_episode_is_cut_off():
    pytest.importorskip("pgx")
    environment = MinAtar("breakout", longest=3)
    state, step = environment.reset(KEY), jax.jit(environment.step)
    for number in range(3):
        found = step(state, jnp.asarray(0), jax.random.fold_in(KEY, number))
        state = found.state
        assert (bool(found.terminated), bool(found.truncated)) == (False, number == 2)
    assert environment.observe(state).dtype == jnp.float32


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_a_game_goes_on_from_a_checkpoint(game, tmp_path):
    pytest.importorskip("pgx")
    environment = MinAtar(game)
    states = jax.vmap(environment.reset)(jax.random.split(KEY, 2))
    Checkpoints(tmp_path / "saved").save(1, states)
    again = Checkpoints(tmp_path / "saved").restore(states)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(states), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_every_game_is_found(game):
    pytest.importorskip("pgx")
    environment = MinAtar(game)
    shape = jax.eval_shape(lambda: environment.observe(environment.reset(KEY))).shape
    assert shape[:2] == (10, 10)
    assert 3 <= environment.actions <= 6
    assert game in environment.record


def test_unknown_games_and_a_missing_package_are_said(monkeypatch):
    with pytest.raises(ValueError, match="game must be one of asterix, breakout"):
        MinAtar("pong")
    monkeypatch.setitem(sys.modules, "pgx.minatar.freeway", None)
    with pytest.raises(ImportError, match=r'pip install "widebasin\[rl\]"'):
        _ = MinAtar("freeway").actions
