"""The command ``widebasin theory``: what the theory guarantees for given constants."""

import dataclasses
import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from widebasin.json_output import JsonFile, probe_json, write_json
from widebasin.sweep import UsageError

OneNumber = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: not checked)")]


@dataclass(frozen=True)
class ConvergenceCommand:
    """Rate and step size at which stochastic SAM is guaranteed to converge.

    Examples:
      widebasin theory convergence --smoothness-each 2 --smoothness 1 --pl 0.5
      widebasin theory convergence --smoothness-each 2 --smoothness 1 --pl 0.5 --rho 0.1 --batch-size 8
    """

    smoothness_each: float
    """beta: a Lipschitz constant of every example's gradient."""
    smoothness: float
    """lambda: a Lipschitz constant of the gradient of the mean loss."""
    pl: float
    """Constant of the Polyak-Lojasiewicz inequality of the mean loss."""
    rho: float = 0.0
    """Radius of the unnormalized ascent; 0 is stochastic gradient descent."""
    batch_size: int = 1
    """Examples per step, drawn with replacement."""
    pl_convention: Literal["half", "full"] = "half"
    """half: 1/2 ||grad f||^2 >= pl f; full: ||grad f||^2 >= pl f."""
    learning_rate: Annotated[
        float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: the best one)")
    ] = None
    """Step size."""
    share: float = 0.01
    """Count steps until the loss is this fraction of the initial loss."""
    json: JsonFile = None
    """Write the numbers to this file."""

    def run(self, console: Console) -> None:
        """Prints the statement."""
        from widebasin import theory
        from widebasin.report.tables import Table

        probe_json(self.json)
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("share", "json")}
        found = _checked(lambda: theory.convergence(**given))
        steps = _checked(lambda: found.steps(self.share))
        rows = (
            ("learning rate", f"{found.learning_rate:.6g}"),
            ("factor of the expected loss per step", f"{found.factor:.6g}"),
            (f"steps to {self.share:g} of the loss, at most", f"{steps:,}"),
            ("contraction for radii below", f"{found.max_rho:.6g}"),
            ("contraction for learning rates below", f"{found.max_learning_rate:.6g}"),
        )
        reached = {"steps": steps if math.isfinite(steps) else None}
        verdict = "guaranteed" if found.guaranteed else "nothing is guaranteed"
        console.print(Table(f"Convergence: {verdict}", ("quantity", "value"), rows).rich("left"))
        write_json(self.json, dataclasses.asdict(found) | {"guaranteed": found.guaranteed} | reached)


@dataclass(frozen=True)
class StabilityCommand:
    """Check, condition by condition, whether a minimum can be linearly stable for stochastic SAM.

    Examples:
      widebasin theory stability --sharpness 15 --learning-rate 0.1
      widebasin theory stability --sharpness 15 --s2 8 --s3 9 --s4 10 --learning-rate 0.1 --rho 0.02
    """

    sharpness: float
    """Largest eigenvalue of the Hessian."""
    learning_rate: float
    """Step size."""
    rho: float = 0.0
    """Radius of the unnormalized ascent; 0 is stochastic gradient descent."""
    s2: OneNumber = None
    """Non-uniformity of order 2."""
    s3: OneNumber = None
    """Non-uniformity of order 3."""
    s4: OneNumber = None
    """Non-uniformity of order 4."""
    json: JsonFile = None
    """Write the numbers to this file."""

    def run(self, console: Console) -> None:
        """Prints the conditions."""
        from widebasin import theory
        from widebasin.report.tables import Table

        probe_json(self.json)
        moments = {k: v for k, v in ((2, self.s2), (3, self.s3), (4, self.s4)) if v is not None}
        found = _checked(
            lambda: theory.stability(
                sharpness=self.sharpness, learning_rate=self.learning_rate, rho=self.rho, nonuniformity=moments
            )
        )
        rows = tuple(
            (
                c.name,
                f"{c.value:.6g}",
                "no bound" if c.bound is None else f"{c.bound:.6g}",
                "holds" if c.holds else "broken",
            )
            for c in found.conditions
        )
        note = "\n".join(f"{c.name} has no bound: {c.reason}." for c in found.conditions if c.bound is None)
        console.print(
            Table(f"Stability: {found.verdict}", ("condition", "value", "at most", ""), rows, note).rich("left")
        )
        record = [dataclasses.asdict(c) | {"holds": c.holds} for c in found.conditions]
        write_json(self.json, {"verdict": found.verdict, "holds": found.holds, "conditions": record})


def _theory_subcommand(name: str, command: Any) -> Any:
    return Annotated[command, tyro.conf.subcommand(name, description=inspect.getdoc(command))]


@dataclass(frozen=True)
class TheoryCommand:
    """Show what the theory says for given constants: convergence, stability.

    Examples:
      widebasin theory convergence --smoothness-each 2 --smoothness 1 --pl 0.5 --rho 0.1
      widebasin theory stability --sharpness 15 --s2 8 --learning-rate 0.1 --rho 0.02
    """

    statement: (
        _theory_subcommand("convergence", ConvergenceCommand) | _theory_subcommand("stability", StabilityCommand)  # type: ignore[valid-type]
    )
    """Which statement."""

    def run(self, console: Console) -> None:
        """Runs the chosen statement."""
        self.statement.run(console)


def _checked(compute: Callable[[], Any]) -> Any:
    """Returns the result, turning a ``ValueError`` (``ARGUMENT must ..., got VALUE``) into a ``UsageError``."""
    try:
        return compute()
    except ValueError as error:
        found = re.fullmatch(r"(?:nonuniformity\[(\d)\]|(\w+)) (.*), got (\S+)", str(error), re.DOTALL)
        if found is None:
            raise
        order, argument, remedy, value = found.groups()
        raise UsageError(argument or f"s{order}", float(value), remedy) from error
