"""CIFAR-10, vision transformer of dimension h: patches of 4 x 4, 6 layers, as in arXiv 2311.17539.

Recipe: 200 epochs, batch 128, learning rate .1 (cosine) and momentum .9 as published; the weight decay of 5e-4 is our
guess, and so are radii, widths and 8 heads. Augmentation and split are those of cifar10-resnet18. The paper reports
that the gap shrinks beyond about 209,000 parameters, and the accuracy of both beyond a million. Not measured yet: it
needs a GPU.
"""

from widebasin.data import SplitSizes, cifar10, crop_and_flip
from widebasin.models import ViT
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

CIFAR10_VIT = SupervisedWorkload(
    name="cifar10-vit",
    model="vit",
    description="CIFAR-10, vision transformer of dimension h, 6 layers",
    load=cifar10,
    input_shape=(32, 32, 3),
    build=lambda width, key: ViT(width, key=key),
    sizes=SplitSizes(train=45_000, valid=5_000, test=10_000),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=200, batch_size=128, learning_rate=0.1, schedule="cosine", weight_decay=5e-4),
    widths=(16, 32, 48, 64, 96, 128, 256, 384),
    rhos=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    augment=crop_and_flip,
    quick={"widths": (16, 32), "rhos": (0.05, 0.2), "seeds": 2, "epochs": 5, "train_examples": 5_000},
)
