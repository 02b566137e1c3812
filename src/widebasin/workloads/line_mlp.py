"""Twelve points on a line, one hidden layer of h ReLU neurons, full batch: the setting of the study ``solution-space``.

Source: arXiv 2311.17539 after Andriushchenko & Flammarion 2022: half the summed squared error, gradient descent and SAM
at radius .3. That loss is 6 times the mean squared error used here, so its gradient descent equals ours at 6 times the
learning rate, and the normalized ascent is the same. Points, learning rate and epochs are ours.
"""

from widebasin.data import SplitSizes, points_on_a_line
from widebasin.models import MLP
from widebasin.training import REGRESSION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

LINE_MLP = SupervisedWorkload(
    name="line-mlp",
    model="mlp",
    description="12 points on a line (embedded), squared error, MLP 1-h-1, full batch",
    load=points_on_a_line,
    build=lambda width, key: MLP((1, width, 1), key=key),
    sizes=SplitSizes(train=12, valid=11, test=201),
    objective=REGRESSION,
    recipe=Recipe(epochs=10_000, batch_size=12, learning_rate=0.02, schedule="constant", momentum=0.0),
    widths=(10, 100),
    rhos=(0.3,),
)
