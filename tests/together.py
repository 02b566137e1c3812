"""Cases that share a test item: cheap ones of a kind, or the members of a family that are to be tested alike."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest


def together(names: str | Sequence[str], values: Iterable[Any], ids: Sequence[str] | None = None) -> Callable:
    """As ``pytest.mark.parametrize``, in one item: every case runs, also after one has failed, and failures are named.

    The cases share the item's fixtures, so that none may change them.

    Args:
        names: of the arguments, in a list or a text with commas.
        values: of the argument, or a tuple for several, case by case.
        ids: of the cases, for the message; their values by default.
    """
    single = isinstance(names, str) and "," not in names
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    cases = [(value,) if single else tuple(value) for value in values]
    ids = [", ".join(map(repr, case)) for case in cases] if ids is None else list(ids)
    assert cases
    assert len(ids) == len(cases)

    def decorate(test: Callable) -> Callable:
        @functools.wraps(test)
        def item(**fixtures: Any) -> None:
            failures = {}
            for case_id, case in zip(ids, cases, strict=True):
                try:
                    test(**fixtures, **dict(zip(names, case, strict=True)))
                except (Exception, pytest.fail.Exception) as error:
                    failures[case_id] = error
            if failures:
                raise BaseExceptionGroup(
                    f"{len(failures)} of {len(cases)} cases fail: {'; '.join(failures)}", list(failures.values())
                )

        signature = inspect.signature(test)
        parameters = [parameter for name, parameter in signature.parameters.items() if name not in names]
        item.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
        return item

    return decorate
