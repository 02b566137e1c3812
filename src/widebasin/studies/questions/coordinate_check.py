"""Do activations, updates and the effect of the perturbation keep their size as the network widens?

Grid: widths x parametrizations x seeds, trained with one method at one radius. Measured, layer by layer and on the same
training examples: the size of activations at initialization and after training; how far the layer's update in training
moves the outputs; how far its part of the ascent moves them, at initialization and after training. Statistic: the power
of the width that each of these follows, with its interval over seeds. A learning rate and a radius found at one width
hold at others where all powers are 0 (Yang and Hu 2021, arXiv 2011.14522; Haas et al. 2024, arXiv 2411.00075).
"""

from widebasin.statistics.design import BASELINE
from widebasin.studies.study import Study, check_one_setting
from widebasin.sweep import Resolved, Spec, UsageError

# Methods whose ascent follows from parameters and gradient; hyperparameters come after a colon.
KNOWN = (BASELINE, "sam", "unnormalized-sam", "asam", "gsam", "wsam", "looksam", "sam-every-5")


def check(spec: Resolved) -> None:
    """Requires several widths, and one setting except for the width and the parametrization."""
    check_one_setting(spec, "widths and parametrizations", varied=("parametrization",), besides=("methods",))
    if len(spec.widths) < 2:
        raise UsageError("widths", spec.widths, "must be at least two: the study compares widths")
    (method,) = spec.methods
    if method.partition(":")[0] not in KNOWN:
        remedy = f"must be one of {', '.join(KNOWN)}: the ascent of others depends on more than the gradient"
        raise UsageError("methods", method, remedy)
    radii = spec.radii_of(method)
    if len(radii) > 1:
        raise UsageError("rhos", radii, "must be one value: the study compares widths at one radius")
    if spec.centered:
        remedy = "must be left out: it trains alpha (f(w) - f(w0)), but f(w) is measured"
        raise UsageError("output_scale", spec.output_scale, remedy)
    if any(spec.sparsity):
        raise UsageError("sparsity", spec.sparsity, "must be 0: all entries of a layer are moved")


STUDY = Study(
    name="coordinate-check",
    order=11,
    question=("Do activations, updates and the effect of the perturbation keep their size as the network widens?"),
    spec=Spec(
        study="coordinate-check",
        widths=(32, 128, 512),
        methods=("sam",),
        rhos=(0.1,),
        seeds=3,
        epochs=2,
        label_noise=(0.0,),
        parametrization=("standard", "mup", "mup2"),
    ),
    compares=False,
    example="--workload digits-resnet --widths 2 4 8 --seeds 2 --out results/coordinates-resnet",
    measures=True,
    curvature=True,
    check_setting=check,
)
