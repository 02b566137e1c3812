"""Masks by path and by shape."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import PyTree


@dataclass(frozen=True)
class _ByPath:
    pattern: str
    chosen: bool

    def __call__(self, gradients: PyTree) -> PyTree:
        found = 0

        def keep(path: Any, leaf: Any) -> bool:
            nonlocal found
            del leaf
            hit = re.search(self.pattern, jax.tree_util.keystr(path)) is not None
            found += hit
            return hit == self.chosen

        kept = jax.tree_util.tree_map_with_path(keep, gradients)
        if not found:
            paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(gradients)]
            shown = ", ".join(paths[:8]) + (" ..." if len(paths) > 8 else "")
            raise ValueError(f"by_path({self.pattern!r}) matches none of the parameters; their paths are {shown}")
        return kept


@dataclass(frozen=True)
class _ByDimensions:
    least: int
    most: int | None

    def __call__(self, gradients: PyTree) -> PyTree:
        return jax.tree.map(
            lambda leaf: leaf.ndim >= self.least and (self.most is None or leaf.ndim <= self.most), gradients
        )


def by_path(pattern: str, *, exclude: bool = False) -> Callable[[PyTree], PyTree]:
    r"""A mask of the leaves whose path matches a regular expression.

    Paths are those of ``jax.tree_util.keystr``: ``['encoder']['norm']['scale']`` for dictionaries,
    ``.layers[0].weight`` for modules. Masks with the same pattern are equal, so a method does not compile again.

    Args:
        pattern: for ``re.search``, anywhere in the path. ``"norm"`` is SAM-ON: only the normalization layers move.
        exclude: select the leaves that do not match: ``by_path("frozen", exclude=True)``.

    Raises:
        re.error: if the pattern is not a regular expression.
        ValueError: when the mask is applied to parameters and no path matches; a misspelt name would otherwise silently
            perturb nothing, or everything.

    Source for SAM-ON: Mueller et al. 2023.

    Example:
        >>> import jax.numpy as jnp
        >>> from widebasin import sam
        >>> sam.by_path("norm")({"norm": {"scale": jnp.ones(3)}, "kernel": jnp.ones((3, 3))})
        {'kernel': False, 'norm': {'scale': True}}
    """
    re.compile(pattern)
    return _ByPath(pattern, not exclude)


def by_dimensions(least: int = 0, most: int | None = None) -> Callable[[PyTree], PyTree]:
    """A mask of the leaves with ``least`` to ``most`` dimensions.

    ``by_dimensions(2)`` selects weights and kernels, ``by_dimensions(most=1)`` biases and normalization parameters.

    Raises:
        ValueError: if the range is empty.
    """
    if least < 0 or (most is not None and most < least):
        raise ValueError(f"least and most must be 0 <= least <= most, got least = {least}, most = {most}")
    return _ByDimensions(least, most)
