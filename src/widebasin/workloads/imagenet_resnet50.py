"""ImageNet, ResNet-50 with h filters in its first stage, as in arXiv 2311.17539; and the same on Imagenette.

Recipe (published): 90 epochs, batch 512, learning rate .2 with a linear warmup of 5,000 steps, then cosine, momentum
.9, weight decay 1e-4; Inception crop of 224 pixels, horizontal flip; the last scale of every block starts at 0; batch
normalization over the whole batch. Radii are our guess. Images are streamed from disk. Split: 20,000 of the official
training images, drawn by seed, are for validation; the official validation set is the test set. The paper reports gains
of .03 to .54 points from 2.0 to 25.6 million parameters. Not measured yet: it needs a GPU. Imagenette, ten of the
classes, is for trying it out: 900 of its training images are for training, 100 for validation, and 500 of its test
images for test; its recipe is ours.
"""

from widebasin.data import SplitSizes, imagenet, imagenette
from widebasin.models import ResNet
from widebasin.training import CLASSIFICATION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

IMAGENET_RESNET50 = SupervisedWorkload(
    name="imagenet-resnet50",
    model="resnet50",
    description="ImageNet, ResNet-50 with h filters in the first stage",
    load=imagenet,
    input_shape=(224, 224, 3),
    build=lambda width, key: ResNet.imagenet(width, key=key),
    sizes=SplitSizes(train=1_261_167, valid=20_000, test=50_000),
    objective=CLASSIFICATION,
    recipe=Recipe(
        epochs=90, batch_size=512, learning_rate=0.2, schedule="cosine", weight_decay=1e-4, warmup_steps=5_000
    ),
    widths=(16, 32, 48, 64),
    rhos=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    published={1_993_976: 0.03, 6_917_640: 0.035, 14_771_992: 0.18, 25_557_032: 0.54},
)

IMAGENETTE_RESNET50 = SupervisedWorkload(
    name="imagenette-resnet50",
    model="resnet50",
    description="Imagenette (10 classes of ImageNet), ResNet-50 with h filters in the first stage",
    load=imagenette,
    input_shape=(224, 224, 3),
    build=lambda width, key: ResNet.imagenet(width, classes=10, key=key),
    sizes=SplitSizes(train=900, valid=100, test=500),
    objective=CLASSIFICATION,
    recipe=Recipe(epochs=20, batch_size=50, learning_rate=0.05, schedule="cosine", weight_decay=1e-4),
    widths=(16, 32, 48, 64),
    rhos=(0.05, 0.1),
    quick={"widths": (4, 8), "rhos": (0.05,), "seeds": 1, "epochs": 2},
)
