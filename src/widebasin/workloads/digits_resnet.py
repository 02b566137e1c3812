"""Digits, a residual network with h filters in its first stage: cifar10-resnet18 on embedded data.

Two stages of one block each instead of four stages of two. Split and label noise are as in digits-mlp; learning rate,
schedule, momentum and weight decay as in cifar10-resnet18; the number of epochs is ours. The paper has no such
workload. Measured on 2 CPU cores (AMD EPYC) in 9m37s of processor time: gains of 1.1, .6, 9.1 and 15.9 points from 400
to 19,706 parameters, and a chosen radius that grows from .02 to .5 (docs/results).
"""

from widebasin.data import SplitSizes, digit_images
from widebasin.models import ResNet
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

DIGITS_RESNET = SupervisedWorkload(
    name="digits-resnet",
    model="resnet",
    description="handwritten digits 8x8 (embedded), residual network with h filters in the first of 2 stages",
    load=digit_images,
    build=lambda width, key: ResNet.cifar(width, channels=1, stages=(1, 1), key=key),
    sizes=SplitSizes(train=1_000, valid=300, test=497),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=30, batch_size=100, learning_rate=0.1, weight_decay=5e-4),
    widths=(2, 4, 8, 16),
    rhos=(0.02, 0.1, 0.5),
    label_noise=0.3,
    quick={"widths": (2, 8), "rhos": (0.1,), "seeds": 2, "epochs": 10},
)
