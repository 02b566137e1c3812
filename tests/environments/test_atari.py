"""Atari against plain loops over the emulator."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widebasin.environments import Atari, atari

KEY = jax.random.key(5)


def emulator(game):
    ale = pytest.importorskip("ale_py")
    found = ale.ALEInterface()
    found.setInt("random_seed", 0)
    found.setFloat("repeat_action_probability", 0.0)
    found.loadROM(ale.roms.get_rom_path(game))
    return found


@functools.cache
def shares(pixels):
    """The shares of old pixels in new ones: every old one as 84, which 84 new ones share out equally."""
    return np.repeat(np.eye(pixels), 84, axis=0).reshape(84, pixels, pixels).mean(axis=1)


def small(screen):
    """The averages over areas."""
    rows, columns = screen.shape
    return shares(rows) @ screen @ shares(columns).T


class ByHand:
    """CleanRL's wrappers as one loop over an emulator that is never saved."""

    def __init__(self, game, waits, by_life):
        self.emulator, self.by_life = emulator(game), by_life
        self.buttons = self.emulator.getMinimalActionSet()
        self.fire = next((button for button in self.buttons if button.name == "FIRE"), None)
        self.emulator.reset_game()
        self.begin(waits)

    def hold(self, button, frames):
        reward, seen = 0, []
        for _ in range(frames):
            if not self.emulator.game_over():
                reward += self.emulator.act(button)
                seen.append(self.emulator.getScreenGrayscale().astype(int))
        return reward, small(np.max(seen[-2:], axis=0))

    def begin(self, waits):
        """A new game after some frames, the next life after none."""
        if waits:
            _, frame = self.hold(self.buttons[0], waits)
        if self.fire is not None or not waits:
            _, frame = self.hold(self.buttons[0] if self.fire is None else self.fire, 4)
        self.frames = [frame] * 4

    def step(self, action):
        lives = self.emulator.lives()
        reward, frame = self.hold(self.buttons[action], 4)
        lost, over = self.emulator.lives() < lives, self.emulator.game_over()
        if lost and not over and not self.by_life and self.fire is not None:
            more, frame = self.hold(self.fire, 4)
            reward += more
        self.frames = [*self.frames[1:], frame]
        return (np.sign(reward), over or lost) if self.by_life else (reward, over)


@pytest.mark.parametrize("by_life", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("game", ["breakout", pytest.param("ms_pacman", marks=pytest.mark.slow)])
def test_steps_are_those_of_an_emulator_that_is_never_saved(game, by_life):
    """To the end of a game and the next, also of one without FIRE; two games take turns at one console."""
    pytest.importorskip("ale_py")
    environment = Atari(game, by_life=by_life)
    random = np.random.default_rng(3)
    step, restart = jax.jit(environment.step), jax.jit(environment.restart)
    state, other = environment.reset(KEY), environment.reset(jax.random.key(6))
    waits = int(jax.random.randint(KEY, (), 1, 31))
    hand, ends, rewards, taken = ByHand(game, waits, by_life), 0, 0.0, 0
    for number in range(400):
        np.testing.assert_allclose(environment.observe(state), np.stack(hand.frames, axis=-1), atol=0.51)
        action = int(random.integers(environment.actions))
        found = step(state, jnp.asarray(action), KEY)
        other = step(other, jnp.asarray(1), KEY).state
        reward, ended = hand.step(action)
        taken += 1
        assert (float(found.reward), bool(found.terminated)) == (reward, ended)
        assert int(found.state.steps) == taken
        rewards += reward
        state = found.state
        if ended:
            ends += 1
            over = hand.emulator.game_over()
            assert bool(state.finished) == over
            key = jax.random.fold_in(KEY, number)
            state = restart(state, found.terminated, key)
            if over:
                hand.emulator.reset_game()
                taken = 0
            hand.begin(int(jax.random.randint(key, (), 1, 31)) if over else 0)
    assert rewards > 0
    assert ends > (2 if by_life else 0) or game == "ms_pacman"


def test_a_game_that_has_finished_stays_and_one_that_is_cut_off_begins_anew():
    pytest.importorskip("ale_py")
    environment = Atari(longest=3)
    state = environment.reset(KEY)
    for number in range(3):
        found = environment.step(state, jnp.asarray(0), KEY)
        state = found.state
        assert (bool(found.terminated), bool(found.truncated)) == (False, number == 2)
    after = environment.step(state, jnp.asarray(2), KEY)
    assert (float(after.reward), int(after.state.steps)) == (0, 3)
    for one, same in zip(jax.tree.leaves(after.state), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(one, same)
    anew, first = environment.restart(state, jnp.asarray(True), KEY), environment.reset(KEY)
    for one, same in zip(jax.tree.leaves(anew), jax.tree.leaves(first), strict=True):
        np.testing.assert_array_equal(one, same)
    kept = environment.restart(state, jnp.asarray(False), KEY)
    np.testing.assert_array_equal(kept.console, state.console)
    assert not environment.judged.by_life
    assert environment.judged.longest == 3


def test_games_that_are_not_there_are_refused(monkeypatch):
    pytest.importorskip("ale_py")
    for game in ("checkers", "maze_craze"):  # of the second there is a cartridge, which the emulator does not support
        with pytest.raises(ValueError, match=rf"no game '{game}'.* \(there are adventure, .*, pong, ") as error:
            _ = Atari(game).actions
        assert f" {game}," not in str(error.value)
    with pytest.raises(ValueError, match="no game 'Pong', did you mean 'pong'"):
        _ = Atari("Pong").actions
    for name in ("skip", "no_ops", "longest"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            Atari(**{name: 0})
    monkeypatch.setitem(sys.modules, "ale_py", None)
    atari._console.cache_clear()
    with pytest.raises(ImportError, match=r'pip install "widebasin\[rl\]"'):
        _ = Atari("breakout").actions
    atari._console.cache_clear()
