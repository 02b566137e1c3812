"""Pruning at initialization: which weights of a network are set to zero before training and stay zero.

A mask is computed once from the parameters (``random_mask``, ``snip_mask``) and applied in the loss (``apply_mask``).
All are pure functions of pytrees; how many weights to prune is a number, not a shape, so one compiled program works for
every sparsity, also for many at once under ``jax.vmap``.
"""

from widebasin.sparsity._counts import pruned_in_total, pruned_per_layer
from widebasin.sparsity._masks import apply_mask, remaining
from widebasin.sparsity._prunable import Which, prunable
from widebasin.sparsity._random import random_mask
from widebasin.sparsity._snip import snip_mask, snip_scores

__all__ = [
    "Which",
    "apply_mask",
    "prunable",
    "pruned_in_total",
    "pruned_per_layer",
    "random_mask",
    "remaining",
    "snip_mask",
    "snip_scores",
]
