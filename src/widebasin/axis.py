"""The class ``Axis``. It imports no other module, so that the command line can build its help quickly."""

import keyword
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Axis:
    """One way in which the networks of a grid differ.

    Attributes:
        name: column of the results, and flag of ``widebasin train``.
        flag: field of a spec, key of its TOML file and, with dashes, flag of the command.
        kind: type of its values: int, float or str.
        wanted: what each value must be, for messages.
        holds: whether a value satisfies ``wanted``.
        default: the default values, a tuple or a list, which becomes one, or a function from workload to values.
        traced: whether different values can share one compiled program; otherwise each value gets its own cells.
        phrase: format string for a value in text, with one field; by default the name in words and the value.
        percent: whether values are fractions, written in percent.
        help: help text of the flag, one sentence.
        hint: how the help describes the default; by default the default itself, or "the workload's".
        single_help: help text of the flag for a single network, if different.
        single: default value for a single network; ``None`` means the middle one of the defaults.
        names: () -> the known names, if values are names.
        counted: whether the flag takes the number of values, which count up from the flag ``first_`` + name.

    Raises:
        ValueError: for an attribute that is not what it must be.
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
        for attribute in ("name", "flag"):
            word = getattr(self, attribute)
            if not isinstance(word, str) or not word.isidentifier() or keyword.iskeyword(word):
                raise ValueError(
                    f"{attribute} of axis {self.name}: must be an identifier of Python and no keyword, got {word!r}"
                )
        if isinstance(self.default, Sequence) and not isinstance(self.default, str):
            object.__setattr__(self, "default", tuple(self.default))  # an axis is a key of a cache
        elif not callable(self.default):
            raise ValueError(  # noqa: TRY004 (shown like other attributes that do not fit)
                f"default of axis {self.name}: must be a tuple of values, such as (1,), or a function from workload to "
                f"values, got {self.default!r}"
            )
        if self.kind not in (int, float, str):
            raise ValueError(f"kind of axis {self.name}: must be int, float or str, got {self.kind}")
        if not self.phrase:
            object.__setattr__(self, "phrase", f"{self.name.replace('_', ' ')} {{}}")

    def defaults(self, workload: Any) -> tuple[Any, ...]:
        """The default values of a workload's grid."""
        return tuple(self.default(workload) if callable(self.default) else self.default)

    def single_value(self, workload: Any) -> Any:
        """The default value for a single network; ``None`` if the workload has none."""
        ladder = self.defaults(workload)
        return self.single if self.single is not None else ladder[len(ladder) // 2] if ladder else None

    @property
    def words(self) -> str:
        """How the help describes the default."""
        if self.hint:
            return self.hint
        return "the workload's" if callable(self.default) else " ".join(map(str, self.default))
