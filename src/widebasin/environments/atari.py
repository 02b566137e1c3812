"""Atari games on emulated consoles, by ale-py, with the usual preprocessing."""

import atexit
import difflib
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from widebasin.environments.environment import Environment, Step

SIDE = 84  # of a frame, pixels
STACK = 4  # frames in an observation
# JAX hands an argument of more than 100 KB to the host by a copy in another thread. Where every thread waits for such a
# copy, as with several devices, none comes (jax-ml/jax#24255); so states are handed over in pieces.
PIECES, LARGEST_PIECE, CONSOLES = 32, 100_000, 380

# What a console does before the next action.
GO_ON, NEXT_LIFE, NEW_GAME = 0, 1, 2


class AtariState(NamedTuple):
    """A saved console, and what the agent has seen last.

    Attributes:
        console: the state of the emulator.
        frames: the last ``STACK`` frames, the newest last.
        finished: whether the game is over or cut off, so that a new one must begin.
        steps: taken in this game.
    """

    console: UInt8[Array, " bytes"]
    frames: UInt8[Array, "84 84 4"]
    finished: Bool[Array, ""]
    steps: Int[Array, ""]


@dataclass(frozen=True)
class Atari(Environment):
    """A game of the Arcade Learning Environment, with the preprocessing of CleanRL's ``ppo_atari.py``.

    A step repeats its action for four frames of the console and shows the brighter of the last two, pixel by pixel,
    gray and averaged over areas to 84 x 84 pixels. An observation has the last four such frames. A game begins with 1
    to 30 frames of NOOP and with a step of FIRE, if the game has it; the next life with a step of FIRE, or else of
    NOOP. In training an episode is one life and rewards are -1, 0 or 1; agents are judged by the scores of whole games,
    see ``judged``.

    The state holds the saved emulator, so that steps are functions of the state like those of other environments: a
    checkpoint continues bit for bit, and agents of several radii and seeds train in one program. The host plays the
    steps one after the other, also those of several devices; the devices compute networks meanwhile.

    Attributes:
        game: as in ale-py, such as ``breakout`` or ``space_invaders``.
        by_life: whether an episode is a life, and rewards are clipped to their sign.
        skip: frames for which an action is repeated.
        no_ops: largest number of frames without an action at the beginning of a game.
        longest: number of steps after which a game is truncated.

    Source: Bellemare et al. 2013, "The Arcade Learning Environment"; Mnih et al. 2015, "Human-level control through
        deep reinforcement learning"; CleanRL. What differs from CleanRL: frames turn gray before the brighter of two
        pixels is taken and before they are made smaller; a step of FIRE is all that begins a game or a life, where
        CleanRL adds another action, and before the next life a NOOP.
    """

    on_host: ClassVar[bool] = True

    game: str = "breakout"
    by_life: bool = True
    skip: int = 4
    no_ops: int = 30
    longest: int = 27_000

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for numbers below 1."""
        for name in ("skip", "no_ops", "longest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def _console(self) -> "_Console":
        return _console(self.game)

    @property
    def actions(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Number of actions that do something in the game.

        Raises:
            ImportError: if ale-py is not installed.
            ValueError: for a game that it does not have.
        """
        return len(self._console.actions)

    @property
    def record(self) -> str:
        """See ``Environment``: with the version of ale-py."""
        return f"{super().record}, ale-py {self._console.version}"

    @property
    def judged(self) -> "Atari":
        """See ``Environment``: whole games, whose rewards are their score."""
        return replace(self, by_life=False)

    def reset(self, key: Key[Array, ""]) -> AtariState:
        """See ``Environment``; the key draws the number of frames without an action."""
        return self._begun(jnp.asarray(self._console.first), jnp.asarray(NEW_GAME + self._drawn(key)))

    def observe(self, state: AtariState) -> UInt8[Array, "84 84 4"]:
        """See ``Environment``: the last four frames; gray values from 0 to 255."""
        return state.frames

    def step(self, state: AtariState, action: Int[Array, ""], key: Key[Array, ""]) -> Step:
        """See ``Environment``; nothing is random. What has finished stays as it is."""
        del key
        host = functools.partial(self._console.play, skip=self.skip, fires=not self.by_life)
        console, screen, reward, lost, over = self._on_host(
            host, (jnp.float32, bool, bool), state.console, action, state.finished
        )
        steps = state.steps + ~state.finished
        terminated = over | lost if self.by_life else over
        truncated = (steps >= self.longest) & ~terminated
        frames = jnp.concatenate([state.frames[..., 1:], _frame(screen)[..., None]], axis=-1)
        finished = state.finished | over | (steps >= self.longest)
        after = AtariState(console, jnp.where(state.finished, state.frames, frames), finished, steps)
        return Step(after, jnp.sign(reward) if self.by_life else reward, terminated, truncated)

    def restart(self, state: AtariState, ended: Bool[Array, ""], key: Key[Array, ""]) -> AtariState:
        """See ``Environment``: the next life, or a new game if this one has finished."""
        begins = jnp.where(state.finished, NEW_GAME + self._drawn(key), NEXT_LIFE)
        fresh = self._begun(state.console, jnp.where(ended, begins, GO_ON))
        fresh = fresh._replace(steps=jnp.where(state.finished, 0, state.steps))
        return jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, state)

    def _drawn(self, key: Key[Array, ""]) -> Int[Array, ""]:
        return jax.random.randint(key, (), 1, self.no_ops + 1)

    def _begun(self, console: Array, begins: Int[Array, ""]) -> AtariState:
        console, screen = self._on_host(functools.partial(self._console.begin, skip=self.skip), (), console, begins)
        frames = jnp.repeat(_frame(screen)[..., None], STACK, axis=-1)
        return AtariState(console, frames, jnp.zeros((), bool), jnp.zeros((), jnp.int32))

    def _on_host(
        self, host: Callable[..., Any], more: tuple[Any, ...], console: Array, *arguments: Array
    ) -> tuple[Array, ...]:
        """What the console does: its new state, the screen, and numbers of the types ``more``."""
        shapes = (self._console.first.shape, self._console.screen)
        arrays = [jax.ShapeDtypeStruct(shape, jnp.uint8) for shape in shapes]
        numbers = [jax.ShapeDtypeStruct((), dtype) for dtype in more]
        pieces = jnp.array_split(console, PIECES)
        return jax.pure_callback(host, (*arrays, *numbers), *arguments, *pieces, vmap_method="broadcast_all")


def _frame(screen: UInt8[Array, "rows columns"]) -> UInt8[Array, "84 84"]:
    """The screen with 84 x 84 pixels."""
    rows, columns = (jnp.asarray(_areas(side)) for side in screen.shape)
    exact = jax.lax.Precision.HIGHEST
    small = jnp.matmul(jnp.matmul(rows, screen.astype(jnp.float32), precision=exact), columns.T, precision=exact)
    return jnp.round(small).astype(jnp.uint8)


@functools.cache
def _areas(side: int) -> Float[np.ndarray, "84 side"]:
    """Which part of each of 84 new pixels each old one covers."""
    edges = np.linspace(0, side, SIDE + 1)[:, None]
    old = np.arange(side)
    covered = np.minimum(edges[1:], old + 1) - np.maximum(edges[:-1], old)
    return (np.maximum(covered, 0) * SIDE / side).astype(np.float32)


class _Console:
    """An emulator that plays from any saved state; one for all agents of a process.

    Args:
        game: the game, as in ale-py.

    Attributes:
        version: of ale-py.
        actions: what its buttons do.
        first: the state at the beginning of the first game.
        screen: number of its rows and columns.
    """

    def __init__(self, game: str) -> None:
        try:
            import ale_py
            from ale_py import roms
        except ImportError as error:
            raise ImportError('Atari needs ale-py, which is not installed: pip install "widebasin[rl]"') from error
        # Of all emulators of the process.
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        # For a cartridge that it does not support, the emulator ends the process.
        paths = {name: roms.get_rom_path(name) for name in sorted(roms.get_all_rom_ids())}
        path = paths.get(game)
        if path is None or ale_py.ALEInterface.isSupportedROM(path) is None:
            supported = [name for name, one in paths.items() if one and ale_py.ALEInterface.isSupportedROM(one)]
            near = difflib.get_close_matches(game.lower(), supported, n=1, cutoff=0.4)
            guess = f", did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"ale-py supports no game {game!r}{guess} (there are {', '.join(supported)})")
        self.version: str = ale_py.__version__
        self._state: Any = ale_py.ALEState
        self._emulator: Any = ale_py.ALEInterface()
        # The agent's seed decides how games begin, nothing else is random.
        self._emulator.setInt("random_seed", 0)
        self._emulator.setFloat("repeat_action_probability", 0.0)
        self._emulator.loadROM(path)
        self.actions = tuple(self._emulator.getMinimalActionSet())
        self._wait: Any = ale_py.Action.NOOP
        self._fire = next((button for button in self.actions if button == ale_py.Action.FIRE), None)
        self.screen: tuple[int, int] = tuple(self._emulator.getScreenDims())
        self._emulator.reset_game()
        self.first = self._saved()
        self._lock = threading.Lock()
        atexit.register(self._close)

    def _close(self) -> None:
        """Frees the emulator before the interpreter exits, where freeing it prints warnings."""
        self._emulator = self._state = None

    def _saved(self) -> UInt8[np.ndarray, " bytes"]:
        return np.frombuffer(self._emulator.cloneState(include_rng=False).__getstate__(), np.uint8)

    def _restore(self, saved: UInt8[np.ndarray, " bytes"]) -> None:
        state = self._state.__new__(self._state)
        state.__setstate__(saved.tobytes())
        self._emulator.restoreState(state)

    def _act(self, button: Any, frames: int) -> tuple[int, UInt8[np.ndarray, "rows columns"]]:
        """The reward for holding a button, and the brighter of the last two screens."""
        reward, screens = 0, []
        for frame in range(frames):
            reward += self._emulator.act(button)
            if frame >= frames - 2 or self._emulator.game_over():
                screens.append(self._emulator.getScreenGrayscale())
            if self._emulator.game_over():
                break
        return reward, functools.reduce(np.maximum, screens)

    def play(self, actions: Any, finished: Any, *saved: Any, skip: int, fires: bool) -> tuple[np.ndarray, ...]:
        """A step from every saved state that had not finished.

        Args:
            actions: of the agents, any axes.
            finished: whether the games were over or cut off before; these stay as they are.
            saved: the states, in pieces.
            skip: frames of a step.
            fires: whether to press FIRE after a lost life.

        Returns:
            The states, the screens, the rewards, whether a life was lost, and whether the game is over.
        """
        actions, finished, after = np.asarray(actions), np.asarray(finished), self._joined(saved)
        screens, rewards = np.zeros((*actions.shape, *self.screen), np.uint8), np.zeros(actions.shape, np.float32)
        lost, over = np.zeros(actions.shape, bool), finished.copy()
        for at in np.ndindex(actions.shape):
            if finished[at]:
                continue
            # Devices call from threads of their own.
            with self._lock:
                self._restore(after[at])
                lives = self._emulator.lives()
                rewards[at], screens[at] = self._act(self.actions[int(actions[at])], skip)
                lost[at] = 0 < self._emulator.lives() < lives
                if fires and lost[at] and self._fire is not None and not self._emulator.game_over():
                    reward, screens[at] = self._act(self._fire, skip)
                    rewards[at] += reward
                over[at] = self._emulator.game_over()
                after[at] = self._saved()
        return after, screens, rewards, lost, over

    def begin(self, begins: Any, *saved: Any, skip: int) -> tuple[np.ndarray, ...]:
        """The next life or a new game.

        Args:
            begins: ``GO_ON`` for nothing, ``NEXT_LIFE``, or ``NEW_GAME`` plus the number of frames before it; any axes.
            saved: the states, in pieces.
            skip: frames for which FIRE is held.

        Returns:
            The states, and screens, dark where nothing has begun.
        """
        begins, after = np.asarray(begins), self._joined(saved)
        screens = np.zeros((*begins.shape, *self.screen), np.uint8)
        for at in np.ndindex(begins.shape):
            if begins[at] == GO_ON:
                continue
            waits = max(int(begins[at]) - NEW_GAME, 0)
            with self._lock:
                self._restore(self.first if waits else after[at])
                screens[at] = self._begun(waits, skip)
                if self._emulator.game_over():
                    self._restore(self.first)
                    screens[at] = self._begun(1, skip)
                after[at] = self._saved()
        return after, screens

    def _begun(self, waits: int, skip: int) -> UInt8[np.ndarray, "rows columns"]:
        """The screen after the frames and the step that begin a game, or a life if there are no frames."""
        screen = self._act(self._wait, waits)[1] if waits else None
        if self._fire is not None or screen is None:
            _, screen = self._act(self._wait if self._fire is None else self._fire, skip)
        return screen

    @staticmethod
    def _joined(pieces: tuple[Any, ...]) -> UInt8[np.ndarray, "... bytes"]:
        if pieces[0].nbytes > LARGEST_PIECE and jax.default_backend() == "cpu":
            raise ValueError(f"at most {CONSOLES} games of Atari can be played in one program on a device of a CPU")
        return np.concatenate([np.asarray(piece) for piece in pieces], axis=-1)


# One for all agents that play the game: every call brings the state that it goes on from.
_console = functools.cache(_Console)
