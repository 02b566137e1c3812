"""Digits, VGG-11 in the lazy (linearized) regime at large scales alpha: cifar10-vgg11-lazy on embedded data.

With 8 x 8 pixels, only three of the five stages are used; 500 training examples, 40 epochs, batch 50. The rest is as in
cifar10-vgg11-lazy. The paper has no such workload; results, in 3m09s on 2 CPU cores (AMD EPYC), are in docs/studies.md.
"""

from widebasin.data import SplitSizes, digit_images
from widebasin.models import VGG11
from widebasin.training import SQUARED_CLASSIFICATION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

DIGITS_VGG11_LAZY = SupervisedWorkload(
    name="digits-vgg11-lazy",
    model="vgg11",
    description="handwritten digits 8x8 (embedded), squared error, VGG-11 of 3 stages with h filters in the first, "
    "centered and scaled",
    load=digit_images,
    build=lambda width, key: VGG11(width=width, channels=1, image_size=8, key=key),
    sizes=SplitSizes(train=500, valid=300, test=497),
    objective=SQUARED_CLASSIFICATION,
    recipe=Recipe(epochs=40, batch_size=50, learning_rate=0.01, schedule="inverse", precision="float64"),
    widths=(8,),
    rhos=(0.01, 0.1),
    output_scales=(0.1, 1.0, 10.0, 100.0, 1e4, 1e6),
    quick={"output_scale": (1.0, 100.0, 1e4), "seeds": 2, "epochs": 15},
)
