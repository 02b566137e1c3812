"""MinAtar against pgx itself."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.environments import MinAtar
from widebasin.environments.minatar import GAMES

KEY = jax.random.key(5)


@pytest.mark.parametrize("game", [GAMES[1], pytest.param(GAMES[0], marks=pytest.mark.slow)])
def test_steps_are_those_of_pgx_and_an_episode_is_cut_off(game):
    pgx = pytest.importorskip("pgx")
    environment, theirs = MinAtar(game, longest=5), pgx.make(f"minatar-{game}")
    assert environment.actions == theirs.num_actions
    step, their_step = jax.jit(environment.step), jax.jit(theirs.step)
    state, their_state = environment.reset(KEY), theirs.init(KEY)
    for number in range(5):
        action, key = jnp.asarray(number % environment.actions), jax.random.fold_in(KEY, number)
        found, their_state = step(state, action, key), their_step(their_state, action, key)
        np.testing.assert_array_equal(environment.observe(found.state), their_state.observation)
        assert float(found.reward) == float(their_state.rewards[0])
        assert (bool(found.terminated), bool(found.truncated)) == (bool(their_state.terminated), number == 4)
        state = found.state
    assert environment.observe(state).dtype == jnp.float32


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
