"""A linear network of two matrices with squared error: the factorization of a matrix of rank 6.

Width is the rank of the product: 4 cannot interpolate, 10 can. Target, batch size and number of training examples are
as in arXiv 2311.17539 after Loizou et al. 2021; learning rate, radii and epochs are ours.
"""

from widebasin.data import SplitSizes, matrix_targets
from widebasin.models import LinearNetwork
from widebasin.training import REGRESSION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

MATRIX_FACTORIZATION = SupervisedWorkload(
    name="matrix-factorization",
    model="linear-network",
    description="matrix of rank 6 from random measurements (embedded), squared error, W2 W1 of rank h",
    load=matrix_targets,
    build=lambda rank, key: LinearNetwork((6, rank, 10), key=key),
    sizes=SplitSizes(train=1_000, valid=200, test=200),
    objective=REGRESSION,
    recipe=Recipe(epochs=600, batch_size=100, learning_rate=0.01, schedule="constant", momentum=0.0),
    widths=(4, 10),
    rhos=(0.0001, 0.001, 0.01, 0.05),
)
