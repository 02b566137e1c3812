"""The same training in PyTorch: a plain eager loop, two backward passes per step."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from widebasin.training import Recipe


def torch_version() -> str:
    """PyTorch's version, or empty if it cannot be imported."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        return ""
    return torch.__version__


def torch_threads() -> int:
    """How many threads PyTorch computes with unless it is told otherwise."""
    import torch  # pyright: ignore[reportMissingImports]

    return torch.get_num_threads()


class TorchSAM:
    """An MLP trained by SAM around ``torch.optim.SGD``, on the CPU.

    Args:
        weights: of the layers, to start from, each ``(outputs, inputs)``.
        biases: of the layers, to start from.
        inputs: training inputs.
        labels: training labels.
        recipe: with a constant learning rate.
        rho: radius.
        threads: that PyTorch computes with.
    """

    def __init__(
        self,
        weights: list[Float[np.ndarray, "_ _"]],
        biases: list[Float[np.ndarray, " _"]],
        inputs: Float[np.ndarray, "examples features"],
        labels: Int[np.ndarray, " examples"],
        recipe: Recipe,
        rho: float,
        threads: int,
    ) -> None:
        import torch  # pyright: ignore[reportMissingImports]

        self.torch, self.rho, self.threads = torch, rho, threads
        self.inputs, self.labels = torch.tensor(inputs), torch.tensor(labels, dtype=torch.int64)
        modules: list[Any] = []
        for weight, bias in zip(weights, biases, strict=True):
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(weight))
                linear.bias.copy_(torch.tensor(bias))
            modules += [linear, torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*modules[:-1])
        self.params = list(self.model.parameters())
        self.optimizer = torch.optim.SGD(
            self.params, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        self.loss_fn = torch.nn.CrossEntropyLoss()

    def shuffled(self, batch_size: int) -> Any:
        """The batches of one epoch, drawn by PyTorch."""
        examples = len(self.inputs)
        return self.torch.randperm(examples)[: examples // batch_size * batch_size].reshape(-1, batch_size)

    def epoch(self, batches: Iterable[Any]) -> float:
        """One step per row of ``batches``, positions in the training data; returns the clean passes' mean loss."""
        self.torch.set_num_threads(self.threads)
        losses = []
        for indices in batches:
            inputs, labels = self.inputs[indices], self.labels[indices]
            loss = self.loss_fn(self.model(inputs), labels)
            loss.backward()
            losses.append(loss.detach())
            ascents = self._ascend()
            self.loss_fn(self.model(inputs), labels).backward()
            self._descend(ascents)
        return float(self.torch.stack(losses).mean())

    def _ascend(self) -> list[Any]:
        """To ``w + rho g / ||g||``."""
        torch = self.torch
        with torch.no_grad():
            gradients: list[Any] = [p.grad for p in self.params]
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
            scale = self.rho / (norm + 1e-12)
            ascents = [g * scale for g in gradients]
            for p, ascent in zip(self.params, ascents, strict=True):
                p.add_(ascent)
        self.optimizer.zero_grad()
        return ascents

    def _descend(self, ascents: list[Any]) -> None:
        """Back to ``w`` and one step of the optimizer with the gradient of the ascent point."""
        with self.torch.no_grad():
            for p, ascent in zip(self.params, ascents, strict=True):
                p.sub_(ascent)
        self.optimizer.step()
        self.optimizer.zero_grad()
