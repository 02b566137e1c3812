"""Do the learning rate and the radius found on a small network hold on a large one?

Grid: parametrizations x widths x {SGD, SAM at every radius} x learning rates x seeds. Statistic: per parametrization,
how many factors of two the best learning rate (of SGD, of SAM) and the best radius move from the smallest to the
largest width, with a bootstrap interval over seeds; what is lost at every width with those of the smallest one, and
SAM's gain over SGD with both at their best, paired by seed.
"""

from widebasin.statistics import BASELINE
from widebasin.studies.study import Study, check_one_setting
from widebasin.sweep import Resolved, Spec, UsageError


def check(spec: Resolved) -> None:
    """Requires SGD, one other method, several widths, several trials, and one setting besides the parametrization."""
    if spec.tune:
        raise UsageError("tune", spec.tune, "must be left out: the study itself finds the best learning rates")
    if len(spec.methods) != 2 or BASELINE not in spec.methods:
        raise UsageError("methods", spec.methods, f"must be {BASELINE} and one method with a radius, such as sam")
    if len(spec.widths) < 2:
        raise UsageError(
            "widths", spec.widths, "must be at least two: the study compares small networks with large ones"
        )
    radii = max(map(len, spec.radii_by_method.values()))
    if len(spec.learning_rate) < 2 and radii < 2:
        raise UsageError("learning_rate", spec.learning_rate, "must be at least two values, or rhos must be")
    check_one_setting(spec, "learning rates and radii", varied=("learning_rate", "parametrization"))


STUDY = Study(
    name="transfer",
    order=10,
    question="Do the learning rate and the radius found on a small network hold on a large one?",
    spec=Spec(
        study="transfer",
        parametrization=("standard", "mup", "mup2"),
        widths=(16, 64, 256),
        learning_rate=(0.0125, 0.025, 0.05, 0.1, 0.2),
        rhos=(0.0125, 0.025, 0.05, 0.1, 0.2, 0.4),
        epochs=20,
    ),
    # Gains at every single learning rate are not what is asked: the answer has those at the best ones.
    compares=False,
    example="--widths 8 32 128 --learning-rate 0.05 0.1 0.2 --seeds 10 --out results/transfer",
    check_setting=check,
)
