"""Writes the records of some cases, or of all: ``python tests/frozen/record.py [CASE ...]``.

To be done only where results are meant to change, with the reason in the message of the commit.
"""

import sys
import tempfile
from pathlib import Path


def main(names: list[str]) -> None:
    """Under the flags of the tests, which are set before JAX starts."""
    sys.path[:0] = [str(Path(__file__).parents[1])]
    import conftest  # noqa: F401
    from frozen.cases import CASES
    from frozen.records import FOLDER, record_of, text_of

    for name in names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            (FOLDER / f"{name}.json").write_text(text_of(record_of(CASES[name], Path(folder))))
        print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
