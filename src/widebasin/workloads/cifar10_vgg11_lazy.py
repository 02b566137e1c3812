"""CIFAR-10, VGG-11 in the lazy (linearized) regime at large scales alpha, as in arXiv 2311.17539.

After Chizat et al. 2019 (arXiv 1812.07956): the centered model ``alpha (f(w, x) - f(w0, x))``, the squared error over
``alpha^2``, alpha from .01 to 1e7, 100 epochs, batch 128, momentum .9, no weight decay, the learning rate over ``1 +
epoch / 3``; computed in float64, because outputs change by ``1 / alpha``. Learning rate and radii are our guess, and no
image is augmented. The paper reports that SAM loses more than 10 points to SGD there. Not measured yet: it needs a GPU;
digits-vgg11-lazy is the same on the digits.
"""

from widebasin.data import SplitSizes, cifar10
from widebasin.models import VGG11
from widebasin.training import SQUARED_CLASSIFICATION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

CIFAR10_VGG11_LAZY = SupervisedWorkload(
    name="cifar10-vgg11-lazy",
    model="vgg11",
    description="CIFAR-10, squared error, VGG-11 with h filters in the first stage, centered and scaled",
    load=cifar10,
    input_shape=(32, 32, 3),
    build=lambda width, key: VGG11(width=width, key=key),
    sizes=SplitSizes(train=45_000, valid=5_000, test=10_000),
    objective=SQUARED_CLASSIFICATION,
    recipe=Recipe(
        epochs=100, batch_size=128, learning_rate=0.01, schedule="inverse", momentum=0.9, precision="float64"
    ),
    widths=(64,),
    rhos=(0.01, 0.05, 0.1),
    output_scales=(0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7),
    quick={"widths": (4,), "output_scale": (1.0, 100.0, 1e4), "seeds": 2, "epochs": 5, "train_examples": 3_000},
)
