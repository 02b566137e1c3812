"""A data set that fits in memory."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer


@dataclass(frozen=True)
class Dataset:
    """Examples in one pool; the split says which of them train, validate and test.

    Attributes:
        name: what to call it in tables.
        inputs: float32, the examples along the first axis.
        targets: integer labels (classification) or float32 targets (regression).
        num_classes: number of classes, or ``None`` for regression.
        fixed_test: the last so many examples are the official test set; 0 if there is none, then the test set is
            drawn by seed like the others.
        shuffled: whether the split is drawn by seed; if not, the training examples come first, those to validate on
            next, and the test set last, for every seed.
    """

    name: str
    inputs: Float[np.ndarray, "examples ..."]
    targets: Integer[np.ndarray, " examples"] | Float[np.ndarray, "examples ..."]
    num_classes: int | None
    fixed_test: int = 0
    shuffled: bool = True

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.inputs)
