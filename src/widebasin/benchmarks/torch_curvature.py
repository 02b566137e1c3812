"""The same Hessian in PyTorch, on the CPU: by hand, by curvlinops and by PyHessian."""

import importlib.util
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float

from widebasin.benchmarks.torch_sam import TorchSAM


class TorchHessian:
    """The Hessian of an MLP's mean cross entropy over all examples, by two backward passes with ``torch.func``.

    Vectors have the layout of ``widebasin.curvature``: weights, then biases.

    Args:
        rival: the PyTorch training with the network, the examples and the loss.
    """

    def __init__(self, rival: TorchSAM) -> None:
        self.torch = torch = rival.torch
        names = _weights_then_biases([name for name, _ in rival.model.named_parameters()])
        self.params = tuple(part.detach() for part in _weights_then_biases(rival.params))

        def loss(params: tuple[Any, ...]) -> Any:
            named = dict(zip(names, params, strict=True))
            return rival.loss_fn(torch.func.functional_call(rival.model, named, (rival.inputs,)), rival.labels)

        self.gradient = torch.func.grad(loss)

    def product(self, vector: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
        """The derivative of the inner product of the gradient and the vector."""
        torch = self.torch
        _, transposed = torch.func.vjp(self.gradient, self.params)
        (parts,) = transposed(tuple(_split(torch, vector, self.params)))
        return torch.cat([part.reshape(-1) for part in parts]).numpy()


class CurvlinopsHessian:
    """The same by ``curvlinops.HessianLinearOperator``: a forward derivative of the gradient."""

    def __init__(self, rival: TorchSAM) -> None:
        import curvlinops  # pyright: ignore[reportMissingImports]

        self.torch = rival.torch
        self.operator = curvlinops.HessianLinearOperator(
            rival.model, rival.loss_fn, _weights_then_biases(rival.params), [(rival.inputs, rival.labels)]
        )

    def product(self, vector: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
        """The product by the operator's ``@``."""
        return (self.operator @ self.torch.tensor(vector)).detach().numpy()


class PyHessian:
    """The same by ``pyhessian``: the gradient's graph is kept, and every product is a backward pass through it."""

    def __init__(self, rival: TorchSAM) -> None:
        import pyhessian  # pyright: ignore[reportMissingImports]

        self.torch = rival.torch
        with warnings.catch_warnings():
            # That the graph is kept.
            warnings.simplefilter("ignore", UserWarning)
            self.hessian = pyhessian.hessian(rival.model, rival.loss_fn, (rival.inputs, rival.labels), cuda=False)

    def product(self, vector: Float[np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
        """The product by its ``hessian_vector_product``."""
        from pyhessian.utils import hessian_vector_product  # pyright: ignore[reportMissingImports]

        params = self.hessian.params
        ordered = _split(self.torch, vector, _weights_then_biases(params))
        half = len(ordered) // 2
        directions = [part for pair in zip(ordered[:half], ordered[half:], strict=True) for part in pair]
        parts = hessian_vector_product(self.hessian.gradsH, params, directions)
        return self.torch.cat([part.reshape(-1) for part in _weights_then_biases(parts)]).detach().numpy()

    def eigenvalues(self, k: int) -> Float[np.ndarray, " k"]:
        """The ``k`` largest in modulus by power iteration, each until its relative change is below 1e-3."""
        with self.torch.random.fork_rng():
            self.torch.manual_seed(0)
            values, _ = self.hessian.eigenvalues(top_n=k)
        return np.asarray(values)


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def _weights_then_biases(parts: Any) -> list[Any]:
    """Reorders parameters of layers (weight, bias, weight, bias, ...) to the order of our vectors."""
    return [*parts[::2], *parts[1::2]]


def _split(torch: Any, vector: Float[np.ndarray, " size"], like: Any) -> list[Any]:
    """The parts of a vector in the shapes of tensors."""
    parts = torch.tensor(vector).split([part.numel() for part in like])
    return [part.reshape(other.shape) for part, other in zip(parts, like, strict=True)]
