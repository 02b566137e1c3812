"""Does a large sparse network keep the large network's gain? (Finding 5 of arXiv 2311.17539.)

Grid: the widths of a workload, dense, and the largest one pruned at initialization, at random and by SNIP, to the
parameter counts of the others, x {SGD, SAM at every radius} x seeds. Statistic: SAM's gain over SGD of dense and of
pruned networks, each at its own radius; and, at equal counts, the difference of the gains, paired by seed.
"""

from widebasin.studies.study import Study, check_one_setting
from widebasin.sweep import Resolved, Spec, UsageError


def check(spec: Resolved) -> None:
    """Requires one setting except for sparsity, and at least one pruned network."""
    check_one_setting(spec, "dense and pruned networks", varied=("sparsity", "pruners"))
    if not any(spec.sparsity):
        raise UsageError("sparsity", spec.sparsity, "must have a value above 0, or widths to match by pruning")


STUDY = Study(
    name="sparsity",
    order=4,
    question="Does a large network, pruned to the size of a small one, keep the large gain of SAM over SGD?",
    spec=Spec(study="sparsity", prune="largest", pruners=("random", "snip")),
    example="--workload digits-resnet --widths 2 4 8 --seeds 3 --out results/sparse-resnet",
    check_setting=check,
)
