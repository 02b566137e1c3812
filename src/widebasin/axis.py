"""One way in which the networks of a grid differ. It loads nothing else: the command line explains itself with it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Axis:
    """One way in which the networks of a grid differ.

    Attributes:
        name: of the column of results, and the flag of ``widebasin train``.
        flag: field of a spec, key of its TOML file and, with dashes, flag of the command.
        kind: of its values: int, float or str.
        wanted: what each value must be, for messages.
        holds: whether a value is that.
        default: values, or workload -> values.
        traced: whether its values may share one program; others split cells.
        phrase: of a value in text, with one field; by default the name in words and the value.
        percent: whether values are shares that are written in percent.
        help: one sentence for the flag.
        hint: what the help says of the default; by default the default itself, or that it is the workload's.
        single_help: the sentence for the flag of a single network, where it is another.
        single: value of a single network; ``None`` is the middle one of the defaults.
        names: () -> the known names, where values are names.
        counted: whether the flag takes how many values there are, counted from ``first_`` and the name.
    """

    name: str
    flag: str
    kind: type
    wanted: str
    holds: Callable[[Any], bool]
    default: Sequence[Any] | Callable[[Any], Sequence[Any]]
    traced: bool = True
    phrase: str = ""
    percent: bool = False
    help: str = ""
    hint: str = ""
    single: Any = None
    single_help: str = ""
    names: Callable[[], Iterable[str]] | None = None
    counted: bool = False

    def __post_init__(self) -> None:
        if self.kind not in (int, float, str):
            raise ValueError(f"kind of axis {self.name}: must be int, float or str, got {self.kind}")
        if not self.phrase:
            object.__setattr__(self, "phrase", f"{self.name.replace('_', ' ')} {{}}")

    def defaults(self, workload: Any) -> tuple[Any, ...]:
        """The values that a workload's grid has where none are given."""
        return tuple(self.default(workload) if callable(self.default) else self.default)

    def single_value(self, workload: Any) -> Any:
        """The value of a single network where none is given; ``None`` if the workload has none."""
        ladder = self.defaults(workload)
        return self.single if self.single is not None else ladder[len(ladder) // 2] if ladder else None

    @property
    def words(self) -> str:
        """What the help says of the default."""
        if self.hint:
            return self.hint
        return "the workload's" if callable(self.default) else " ".join(map(str, self.default))
