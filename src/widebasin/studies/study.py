"""What a study is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from widebasin.report import BASELINE
from widebasin.sweep import Resolved, Spec, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from widebasin.report.page import Answer
    from widebasin.studies.measuring import Instrument


# In which networks of one width and method differ besides radius and seed.
SETTING_ARGUMENTS = ("sparsity", "pruners", "output_scale", "label_noise", "weight_decay", "learning_rate")


@dataclass(frozen=True)
class Options:
    """How results are read; changing these trains nothing."""

    select: Literal["valid", "test"] = "valid"
    """Split on which rho* is chosen. test reproduces the paper's protocol: it chooses and reports on the same data."""
    at: Literal["final", "best"] = "final"
    """Report the final epoch, or the best one on the validation split."""
    samples: int = 256
    """Training examples on which the studies of curvature measure a network."""

    def check(self) -> None:
        """Raises ``UsageError`` where a value cannot be."""
        check_samples(self.samples)


@dataclass(frozen=True)
class Tables:
    """What a finished sweep holds.

    Attributes:
        results: one row per network.
        history: one row per network and epoch.
        measured: name of an instrument -> its measurements of the networks.
    """

    results: "pd.DataFrame"
    history: "pd.DataFrame"
    measured: "Mapping[str, pd.DataFrame]" = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A question with its grid and its answer.

    Attributes:
        name: on the command line.
        question: one sentence.
        spec: the default grid.
        answer: (spec, tables, options) -> the answer.
        compares: whether the answer needs the baseline and another method.
        example: flags of a second example in the help.
        instruments: (spec, options) -> what is measured of the trained networks, whose parameters are then kept;
            ``None`` if nothing is.
        check_setting: raises ``UsageError`` where the answer needs something else of a resolved spec.
    """

    name: str
    question: str
    spec: Spec
    answer: "Callable[[Resolved, Tables, Options], Answer]"
    compares: bool = True
    example: str = "--widths 8 32 128 --seeds 10 --out results/more-seeds"
    instruments: "Callable[[Resolved, Options], Sequence[Instrument]] | None" = None
    check_setting: Callable[[Resolved], None] = lambda spec: None

    def check(self, spec: Resolved) -> None:
        """Raises ``UsageError`` if the answer cannot be given from a resolved spec."""
        self.check_setting(spec)
        if not self.compares:
            return
        if BASELINE not in spec.methods or len(spec.methods) < 2:
            raise UsageError(
                "methods", spec.methods, f"must name {BASELINE} and a method to compare with it, such as sam"
            )


def check_samples(samples: int) -> None:
    """Raises ``UsageError`` if curvature cannot be measured on so few examples."""
    if samples < 2:
        raise UsageError("samples", samples, "must be at least 2: uneven Hessians take two examples")


def check_plain_networks(spec: Resolved) -> None:
    """Raises ``UsageError`` if the curvature of a resolved spec's networks is not measured.

    These are pruned or centered networks, and those of images that are streamed from the disk.
    """
    from widebasin.workloads import WORKLOADS

    if WORKLOADS[spec.workload].load().files is not None:
        raise UsageError("workload", spec.workload, "must hold its data in memory: streamed images are not measured on")
    if any(spec.sparsity or ()):
        raise UsageError("sparsity", spec.sparsity, "must be 0: the curvature of pruned networks is not measured")
    if spec.centered:
        raise UsageError("output_scale", spec.output_scale, "must be left out: the study measures the networks as such")


def check_one_setting(
    spec: Resolved, compares: str, *, varied: Sequence[str] = (), besides: Sequence[str] = ()
) -> None:
    """Raises ``UsageError`` if an argument of a resolved spec has several values that the study does not compare.

    Args:
        spec: resolved.
        compares: what the study compares, for the message.
        varied: which of ``SETTING_ARGUMENTS`` may have several values.
        besides: arguments that must have one value too.
    """
    for argument in (*besides, *SETTING_ARGUMENTS):
        values = getattr(spec, argument) or ()
        if argument not in varied and len(values) > 1:
            raise UsageError(argument, values, f"must be one value: the study compares {compares} in one setting")
