"""CIFAR-10, ResNet-18 with h filters in its first stage, as in arXiv 2311.17539.

Recipe (published): 200 epochs, batch 128, learning rate .1 times .1 at 50% and 75%, momentum .9, weight decay 5e-4,
zero padding of 4, random crop, horizontal flip. Radii are our guess. Split: the 50,000 official training images give
45,000 for training and 5,000 for validation, drawn by seed; the official test set is the test set. The paper reports
gains of .36 to 1.22 points. Measured on 2 CPU cores (AMD EPYC): only the preset quick, in 24m43s alongside other
programs; 6 epochs on 5,000 JPEGs are too few for any gain (docs/results). The rest needs a GPU.
"""

from widebasin.data import SplitSizes, cifar10, crop_and_flip
from widebasin.models import ResNet
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

CIFAR10_RESNET18 = SupervisedWorkload(
    name="cifar10-resnet18",
    model="resnet18",
    description="CIFAR-10, ResNet-18 with h filters in the first stage",
    load=cifar10,
    input_shape=(32, 32, 3),
    build=lambda width, key: ResNet.cifar(width, key=key),
    sizes=SplitSizes(train=45_000, valid=5_000, test=10_000),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=200, batch_size=128, learning_rate=0.1, weight_decay=5e-4),
    widths=(4, 8, 16, 32, 64, 128, 256),
    rhos=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    augment=crop_and_flip,
    quick={"widths": (2, 4, 8), "rhos": (0.05, 0.2), "seeds": 2, "epochs": 6, "train_examples": 5_000},
    published={
        44_622: 0.36,
        176_402: 0.66,
        701_466: 0.44,
        2_797_610: 0.84,
        11_173_962: 0.96,
        44_662_922: 1.22,
        178_585_866: 1.01,
    },
)
