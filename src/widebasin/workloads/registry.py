"""The workloads by name."""

from widebasin.workloads.arrays import arrays_workload, names_arrays
from widebasin.workloads.cifar10_resnet18 import CIFAR10_RESNET18
from widebasin.workloads.cifar10_vgg11_lazy import CIFAR10_VGG11_LAZY
from widebasin.workloads.cifar10_vit import CIFAR10_VIT
from widebasin.workloads.digits_mlp import DIGITS_MLP
from widebasin.workloads.digits_resnet import DIGITS_RESNET
from widebasin.workloads.digits_squared_mlp import DIGITS_SQUARED_MLP
from widebasin.workloads.digits_vgg11_lazy import DIGITS_VGG11_LAZY
from widebasin.workloads.digits_vit import DIGITS_VIT
from widebasin.workloads.imagenet_resnet50 import IMAGENET_RESNET50, IMAGENETTE_RESNET50
from widebasin.workloads.least_squares import LEAST_SQUARES
from widebasin.workloads.line_mlp import LINE_MLP
from widebasin.workloads.matrix_factorization import MATRIX_FACTORIZATION
from widebasin.workloads.mnist_mlp import MNIST_MLP
from widebasin.workloads.synthetic_mlp import SYNTHETIC_MLP
from widebasin.workloads.workload import Workload


class Workloads(dict[str, Workload]):
    """The workloads that have a name; and a user's own arrays, by the name of their file."""

    def __contains__(self, name: object) -> bool:
        """Whether it is a workload's name, or that of a file of arrays, which may yet be missing or unreadable."""
        return super().__contains__(name) or (isinstance(name, str) and names_arrays(name))

    def __missing__(self, name: str) -> Workload:
        """The workload of a file of arrays."""
        if names_arrays(name):
            return arrays_workload(name)
        raise KeyError(name)


WORKLOADS = Workloads(
    (workload.name, workload)
    for workload in (
        DIGITS_MLP,
        DIGITS_RESNET,
        DIGITS_VIT,
        DIGITS_VGG11_LAZY,
        DIGITS_SQUARED_MLP,
        SYNTHETIC_MLP,
        MATRIX_FACTORIZATION,
        LEAST_SQUARES,
        LINE_MLP,
        MNIST_MLP,
        CIFAR10_RESNET18,
        CIFAR10_VIT,
        CIFAR10_VGG11_LAZY,
        IMAGENET_RESNET50,
        IMAGENETTE_RESNET50,
    )
)
