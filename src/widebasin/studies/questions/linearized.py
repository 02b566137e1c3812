"""Does linearization explain the gain? (Finding 7 of arXiv 2311.17539.)

Grid: one width x scales alpha of the lazy regime x {SGD, SAM at every radius} x seeds. At large alpha the weights of
the centered model ``alpha (f(w) - f(w0))`` hardly move, as if it were linear in them (Chizat et al. 2019). Statistic:
SAM's gain over SGD at every scale; and the stability of activations, the fraction of ReLU and max-pool patterns on test
examples that are unchanged since initialization.
"""

from widebasin.studies.study import Study, check_one_setting
from widebasin.sweep import Resolved, Spec, UsageError

# From this scale on, float32 is too coarse for f(w) - f(w0).
NEEDS_FLOAT64 = 1e3


def check(spec: Resolved) -> None:
    """Requires one setting except for the scale."""
    check_one_setting(spec, "scales", varied=("output_scale",), besides=("widths",))
    if any(spec.sparsity):
        raise UsageError("sparsity", spec.sparsity, "must be 0: activations are compared with a dense network's")
    if not spec.centered:
        raise UsageError("output_scale", spec.output_scale, "must be scales alpha, such as 1 100 10000")
    if any(spec.weight_decay):
        raise UsageError(
            "weight_decay", spec.weight_decay, "must be 0: weight decay does not shrink with the scale as gradients do"
        )
    if max(spec.output_scale) >= NEEDS_FLOAT64 and spec.precision != "float64":
        raise UsageError(
            "precision",
            spec.precision,
            f"must be float64 for scales of {NEEDS_FLOAT64:g} and more: outputs change by a fraction 1 / alpha",
        )


STUDY = Study(
    name="linearized",
    order=8,
    question="Does SAM still gain over SGD where the network is nearly linear in its parameters?",
    spec=Spec(study="linearized", workload="digits-vgg11-lazy", seeds=3),
    example="--output-scale 1 1e3 1e6 --rhos 0.001 0.01 --out results/small-radii",
    measures=True,
    models=("vgg11", "mlp"),
    check_setting=check,
)
