"""What a study is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from widebasin.report import BASELINE
from widebasin.sweep import Spec, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from widebasin.report.page import Answer


@dataclass(frozen=True)
class Options:
    """How results are read; changing these trains nothing."""

    select: Literal["valid", "test"] = "valid"
    """Split on which rho* is chosen. test reproduces the paper's protocol: it chooses and reports on the same data."""
    at: Literal["final", "best"] = "final"
    """Report the final epoch, or the best one on the validation split."""


@dataclass(frozen=True)
class Study:
    """A question with its grid and its answer.

    Attributes:
        name: on the command line.
        question: one sentence.
        spec: the default grid.
        answer: (spec, results, history, options) -> the answer.
        compares: whether the answer needs the baseline and another method.
        example: flags of a second example in the help.
        check_setting: raises ``UsageError`` where the answer needs something else of a resolved spec.
    """

    name: str
    question: str
    spec: Spec
    answer: "Callable[[Spec, pd.DataFrame, pd.DataFrame, Options], Answer]"
    compares: bool = True
    example: str = "--widths 8 32 128 --seeds 10 --out results/more-seeds"
    check_setting: Callable[[Spec], None] = lambda spec: None

    def check(self, spec: Spec) -> None:
        """Raises ``UsageError`` if the answer cannot be given from a resolved spec."""
        self.check_setting(spec)
        if not self.compares:
            return
        if BASELINE not in spec.methods or len(spec.methods) < 2:
            raise UsageError(
                "methods", spec.methods, f"must name {BASELINE} and a method to compare with it, such as sam"
            )
