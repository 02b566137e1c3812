"""Digits, a vision transformer of dimension h: cifar10-vit on embedded data.

Patches of 2 x 2 pixels and 2 layers. Split and label noise are as in digits-mlp; the recipe is ours: at a learning rate
of .1, as in cifar10-vit, a network of dimension 64 stays at chance accuracy. The paper has no such workload. Measured
on 2 CPU cores (AMD EPYC), alongside other programs (docs/results): these networks fit neither wrong labels nor right
ones, and SAM loses 14 to 45 points at radius .02. With batches of 25 and 120 epochs, 5m37s for 16 networks, those of
dimension 64 fit their labels, and at radii up to .02 SAM gains 10 points at dimension 16 and none at 64.
"""

from widebasin.data import SplitSizes, digit_images
from widebasin.models import ViT
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

DIGITS_VIT = SupervisedWorkload(
    name="digits-vit",
    model="vit",
    description="handwritten digits 8x8 (embedded), vision transformer of dimension h, 2 layers",
    load=digit_images,
    build=lambda width, key: ViT(width, image_size=8, channels=1, patch=2, depth=2, key=key),
    sizes=SplitSizes(train=1_000, valid=300, test=497),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=60, batch_size=100, learning_rate=0.03, schedule="cosine", weight_decay=5e-4),
    widths=(16, 32, 64),
    rhos=(0.001, 0.005, 0.02),
    label_noise=0.3,
    quick={"widths": (16, 32), "rhos": (0.005,), "seeds": 2, "epochs": 20},
)
