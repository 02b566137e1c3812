"""Digits with squared error, trained to nearly zero loss: the setting of the study ``stability``.

The paper uses an MLP on MNIST with squared loss, a constant learning rate, no momentum and no weight decay. Here the
data are the digits; learning rate, epochs and batch size are ours.
"""

from widebasin.data import SplitSizes, digits
from widebasin.models import MLP
from widebasin.training import SQUARED_CLASSIFICATION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

DIGITS_SQUARED_MLP = SupervisedWorkload(
    name="digits-squared-mlp",
    model="mlp",
    description="handwritten digits 8x8 (embedded), squared error, MLP 64-3h-h-10",
    load=digits,
    build=lambda width, key: MLP.ladder(64, 10, width, key=key),
    sizes=SplitSizes(train=500, valid=500, test=797),
    objective=SQUARED_CLASSIFICATION,
    recipe=Recipe(epochs=300, batch_size=1, learning_rate=0.002, schedule="constant", momentum=0.0),
    widths=(4, 8, 16, 32),
    rhos=(0.0005, 0.001, 0.002, 0.005),
)
