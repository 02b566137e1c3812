"""The same training in PyTorch: a plain eager loop, two backward passes per step of SAM."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
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
    """A network trained by SAM around an optimizer of PyTorch.

    Args:
        model: a module with the initial parameters; if it is on an accelerator, it computes there.
        inputs: training inputs, an array or a dictionary of them.
        labels: training labels.
        recipe: a recipe with a constant learning rate and SGD, Adam or AdamW.
        rho: radius; at 0, steps take one gradient.
        threads: number of threads for PyTorch.
        prepare: inputs of a batch -> inputs of the model, applied once per step; by default unchanged.
        loss_fn: (outputs, labels) -> loss; by default the mean cross entropy.
    """

    def __init__(
        self,
        model: Any,
        inputs: np.ndarray | dict[str, np.ndarray],
        labels: Int[np.ndarray, "examples *more"],
        recipe: Recipe,
        rho: float,
        threads: int,
        prepare: Callable[[Any], Any] = lambda inputs: inputs,
        loss_fn: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        import torch  # pyright: ignore[reportMissingImports]

        self.torch, self.rho, self.threads, self.prepare = torch, rho, threads, prepare
        self.model = model
        self.params = [param for param in model.parameters() if param.requires_grad]
        self.device = self.params[0].device
        self.inputs = jax.tree.map(lambda array: torch.tensor(array, device=self.device), inputs)
        self.labels = torch.tensor(labels, dtype=torch.int64, device=self.device)
        decay = {"weight_decay": recipe.weight_decay}
        if recipe.optimizer == "sgd":
            decay["momentum"] = recipe.momentum
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
        self.optimizer = kind(self.params, recipe.learning_rate, **decay)
        self.clip = recipe.clip
        self.loss_fn = loss_fn or torch.nn.CrossEntropyLoss()
        self.half = recipe.precision == "bfloat16"

    def shuffled(self, batch_size: int) -> Any:
        """The batches of one epoch, drawn by PyTorch."""
        examples = len(self.labels)
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
        inputs = self.prepare(jax.tree.map(lambda array: array[indices], self.inputs))
        labels = self.labels[indices]
        loss = self._loss(inputs, labels)
        loss.backward()
        if self.rho:
            ascents = self._ascend()
            self._loss(inputs, labels).backward()
            self._return(ascents)
        if self.clip is not None:
            self.torch.nn.utils.clip_grad_norm_(self.params, self.clip)
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
