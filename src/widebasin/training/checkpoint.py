"""Checkpoints of a training run: atomic, verified when read."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

FORMAT = 1


class CheckpointError(Exception):
    """A checkpoint cannot be read; the message names the folder and the remedy."""


class Checkpoints:
    """The latest checkpoint of one training run, in one folder, written by orbax.

    A checkpoint appears whole or not at all (orbax writes aside and renames), and carries a SHA-256 digest of its
    arrays that is verified on restoring.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._manager: ocp.CheckpointManager | None = None

    def save(self, epoch: int, tree: PyTree) -> None:
        """Writes the checkpoint of an epoch and removes the one before."""
        self._open().save(
            epoch,
            args=ocp.args.Composite(tree=ocp.args.StandardSave(tree), seal=ocp.args.JsonSave(_seal(tree))),
        )

    def restore(self, like: PyTree) -> PyTree | None:
        """The latest checkpoint, with the structure, shapes and dtypes of ``like``; ``None`` if there is none.

        Raises:
            CheckpointError: if the checkpoint is truncated, corrupt, of another shape or of another format.
        """
        if not self.folder.exists():
            return None
        try:
            manager = self._open()
            epoch = manager.latest_step()
            if epoch is None:
                return None
            target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
            found: Any = manager.restore(
                epoch,
                args=ocp.args.Composite(tree=ocp.args.StandardRestore(target), seal=ocp.args.JsonRestore()),
            )
        except Exception as error:  # orbax and tensorstore raise many types for a damaged folder
            raise self._damaged(f"cannot be read ({type(error).__name__}: {str(error).splitlines()[0]})") from error
        if found.seal != _seal(found.tree):
            raise self._damaged("does not match its digest")
        return found.tree

    def _damaged(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"checkpoint {self.folder} {what}; delete that folder and run again: "
            "this group of networks then starts from its first epoch, everything else is kept"
        )

    def remove(self) -> None:
        """Deletes all checkpoints of this run."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=1, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=False
            )
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        return self._manager


def _seal(tree: PyTree) -> dict[str, Any]:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        data = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        array = np.asarray(data)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return {"format": FORMAT, "sha256": digest.hexdigest()}


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
