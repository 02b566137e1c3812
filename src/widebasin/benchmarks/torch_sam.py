"""The same training in PyTorch: a plain eager loop, two backward passes per step of SAM."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
    """The default number of threads of PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]

    return torch.get_num_threads()


def torch_mlp(weights: list[Float[np.ndarray, "_ _"]], biases: list[Float[np.ndarray, " _"]]) -> Any:
    """An MLP from the parameters of its layers, each weight ``(outputs, inputs)``."""
    import torch  # pyright: ignore[reportMissingImports]

    modules: list[Any] = []
    for weight, bias in zip(weights, biases, strict=True):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(weight))
            linear.bias.copy_(torch.tensor(bias))
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


class TorchSAM:
    """A network trained by SAM around ``torch.optim.SGD``, on cross entropy.

    Args:
        model: a module with the initial parameters; if it is on an accelerator, it computes there.
        inputs: training inputs.
        labels: training labels.
        recipe: a recipe with a constant learning rate.
        rho: radius; at 0, steps are SGD steps with one gradient.
        threads: number of threads for PyTorch.
        prepare: inputs of a batch -> inputs of the model, applied once per step; by default unchanged.
    """

    def __init__(
        self,
        model: Any,
        inputs: np.ndarray,
        labels: Int[np.ndarray, " examples"],
        recipe: Recipe,
        rho: float,
        threads: int,
        prepare: Callable[[Any], Any] = lambda inputs: inputs,
    ) -> None:
        import torch  # pyright: ignore[reportMissingImports]

        self.torch, self.rho, self.threads, self.prepare = torch, rho, threads, prepare
        self.model = model
        self.params = list(model.parameters())
        self.device = self.params[0].device
        self.inputs = torch.tensor(inputs, device=self.device)
        self.labels = torch.tensor(labels, dtype=torch.int64, device=self.device)
        self.optimizer = torch.optim.SGD(
            self.params, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        self.loss_fn = torch.nn.CrossEntropyLoss()
        self.half = recipe.precision == "bfloat16"

    def shuffled(self, batch_size: int) -> Any:
        """The batches of one epoch, drawn by PyTorch."""
        examples = len(self.inputs)
        order = self.torch.randperm(examples, device=self.device)
        return order[: examples // batch_size * batch_size].reshape(-1, batch_size)

    def epoch(self, batches: Iterable[Any]) -> float:
        """One step per row of ``batches``, positions in the training data; returns the clean passes' mean loss."""
        with self._threads():
            return float(self.torch.stack([self._step(indices) for indices in batches]).mean())

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Sets PyTorch's number of threads, which is global to the process, and restores it afterwards."""
        before = self.torch.get_num_threads()
        self.torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            self.torch.set_num_threads(before)

    def _step(self, indices: Any) -> Any:
        inputs, labels = self.prepare(self.inputs[indices]), self.labels[indices]
        loss = self._loss(inputs, labels)
        loss.backward()
        if self.rho:
            ascents = self._ascend()
            self._loss(inputs, labels).backward()
            self._return(ascents)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def _loss(self, inputs: Any, labels: Any) -> Any:
        with self.torch.autocast(self.device.type, self.torch.bfloat16, enabled=self.half):
            return self.loss_fn(self.model(inputs), labels)

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

    def _return(self, ascents: list[Any]) -> None:
        """Back to ``w``, with the gradient of the ascent point."""
        with self.torch.no_grad():
            for p, ascent in zip(self.params, ascents, strict=True):
                p.sub_(ascent)
