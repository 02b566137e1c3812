"""Checkpoints of a training run: atomic, verified before they are read."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from widebasin.training.hosts import agreed, explained

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

FORMAT = 1

Value = TypeVar("Value")


class CheckpointError(Exception):
    """A checkpoint cannot be read or written; the message has the folder and the remedy."""


class Checkpoints:
    """The latest checkpoints of one training run, in one folder, written by orbax.

    Checkpoints are written atomically (orbax writes to a temporary folder and renames it). A seal next to each has the
    shapes of its arrays and the SHA-256 digests of its files, verified before anything is read. A checkpoint without a
    seal, left by a process that ended between the two, is ignored; the one before it is kept for that case.

    Args:
        folder: the folder; of several hosts, one that all of them see.
        together: whether all hosts write and read it together, each its part of the arrays; they then call every method
            at the same time, and what host 0 finds in the folder holds for all.

    Attributes:
        run: what tells the run from others, kept in the seals; checkpoints of another run are refused.
    """

    def __init__(self, folder: Path, together: bool = False) -> None:
        self.folder, self.together = folder.absolute(), together and jax.process_count() > 1
        self.run = ""
        self._manager: ocp.CheckpointManager | None = None

    def due(self, here: bool) -> bool:
        """Whether a checkpoint is due, as this host's clock or that of host 0 says."""
        return self._agreed(lambda: here)

    def _agreed(self, decide: Callable[[], Value]) -> Value:
        return agreed(decide) if self.together else decide()

    def save(self, epoch: int, tree: PyTree) -> None:
        """Writes the checkpoint of an epoch, a pytree of arrays; the previous one is kept, older ones are removed.

        Raises:
            CheckpointError: if it cannot be written; previous checkpoints stay intact.
        """
        import orbax.checkpoint as ocp

        manager = self._open()

        def kept() -> None:
            digests = _digests(self.folder / str(epoch))
            record = {"format": FORMAT, "run": self.run, "arrays": _arrays(tree), "sha256": digests}
            aside = self._seal(epoch).with_suffix(".partial")
            aside.write_text(json.dumps(record))
            aside.replace(self._seal(epoch))
            for old in set(self.folder.glob("*.seal")) - {self._seal(one) for one in manager.all_steps()}:
                old.unlink()

        try:
            with explained():
                manager.save(epoch, args=ocp.args.StandardSave(_stored(tree)), force=True)
            self._agreed(kept)
        except (OSError, ValueError) as error:  # tensorstore reports a full disk as a ValueError
            raise CheckpointError(
                f"cannot write a checkpoint to {self.folder} ({str(error).splitlines()[0][:200]}); free some space and "
                "run the same command again: finished networks and the previous checkpoint are kept"
            ) from error

    def restore(self, like: PyTree) -> PyTree | None:
        """The latest checkpoint, with the structure, shapes and dtypes of ``like``; ``None`` if there is none.

        Raises:
            CheckpointError: if the checkpoint is truncated or corrupt, or has another shape or format.
        """
        if not self._agreed(self.folder.exists):
            return None
        import orbax.checkpoint as ocp

        manager = self._open()
        for epoch in self._agreed(lambda: [one for one in manager.all_steps() if not self._seal(one).exists()]):
            manager.delete(epoch)
        epoch = self._agreed(lambda: self._verified(manager.latest_step(), _arrays(like)))
        if epoch is None:
            return None
        found = manager.restore(epoch, args=ocp.args.StandardRestore(jax.tree.map(_abstract, _stored(like))))
        return jax.tree.map(lambda mine, leaf: leaf if mine.size else mine, like, found)

    def _verified(self, epoch: int | None, like: dict[str, str]) -> int | None:
        """The epoch of the latest checkpoint, whose arrays are to be ``like`` these; ``None`` if there is none."""
        if epoch is None:
            return None
        try:
            seal = json.loads(self._seal(epoch).read_text())
            version, arrays, digests = seal["format"], seal["arrays"], seal["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._unreadable(f"has a damaged seal ({error})") from error
        if version != FORMAT:
            raise self._unreadable(f"has format {version}, but this version of widebasin reads {FORMAT}")
        if digests != _digests(self.folder / str(epoch)):
            raise self._unreadable("is corrupt or truncated: its files do not match their digests")
        if arrays != like:
            raise self._unreadable("belongs to another training run: its arrays have different names, shapes or types")
        if seal.get("run", self.run) != self.run:
            raise self._unreadable("belongs to another training run: of other points or with another recipe")
        return epoch

    def remove(self) -> None:
        """Deletes all checkpoints of this run."""
        self.close()
        self._agreed(self._delete)

    def _delete(self) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def close(self) -> None:
        """Releases the resources of orbax; saved checkpoints stay."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _unreadable(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"checkpoint {self.folder} {what}; delete that folder and run again: "
            "this group of networks then starts from its first epoch, everything else is kept"
        )

    def _seal(self, epoch: int) -> Path:
        return self.folder / f"{epoch}.seal"

    def _open(self) -> "ocp.CheckpointManager":
        import orbax.checkpoint as ocp  # takes a fifth of a second, and short runs write no checkpoints

        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=2, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=False
            )
            if jax.process_count() > 1 and not self.together:
                alone = jax.process_index()
                # The folder is there: orbax makes none for a part of the hosts.
                self.folder.mkdir(parents=True, exist_ok=True)
                options.create = False
                options.multiprocessing_options = ocp.options.MultiprocessingOptions(
                    primary_host=alone, active_processes={alone}, barrier_sync_key_prefix=f"host-{alone}"
                )
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        return self._manager


def _arrays(tree: PyTree) -> dict[str, str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _stored(tree: PyTree) -> PyTree:
    """The arrays, with a number in the place of each that has none, which orbax does not write."""
    return jax.tree.map(lambda leaf: leaf if leaf.size else np.zeros(1, np.uint8), tree)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _abstract(leaf: PyTree) -> PyTree:
    """The shape of a device array; numpy arrays unchanged, so that they are restored as numpy arrays."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding) if isinstance(leaf, jax.Array) else leaf
