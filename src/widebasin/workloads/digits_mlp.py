"""Digits, MLP 64 - 3h - h - 10: a workload for laptops, with embedded data.

Recipe: 60 epochs, batch 100, learning rate .1 times .1 at 50% and 75%, momentum .9, weight decay 1e-4. Split: 1,000
training, 300 validation, 497 test images, drawn by seed. 30% symmetric label noise by default: SAM and SGD differ where
networks are large enough to fit wrong labels. The paper has no such workload; results are in the README.
"""

from widebasin.data import SplitSizes, digits
from widebasin.models import MLP
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

DIGITS_MLP = SupervisedWorkload(
    name="digits-mlp",
    model="mlp",
    description="handwritten digits 8x8 (embedded), MLP 64-3h-h-10",
    load=digits,
    build=lambda width, key: MLP.ladder(64, 10, width, key=key),
    sizes=SplitSizes(train=1_000, valid=300, test=497),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=60, batch_size=100, learning_rate=0.1, weight_decay=1e-4),
    widths=(4, 8, 16, 32, 64, 128),
    rhos=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    label_noise=0.3,
    quick={"widths": (4, 16, 64), "rhos": (0.05, 0.2), "seeds": 3, "epochs": 30},
)
