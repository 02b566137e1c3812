"""Shell completion: tyro's script completes the flags; this adds the names that flags and arguments accept."""

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any

from widebasin.sweep.axes import AXES
from widebasin.sweep.spec import BUDGETS, PRESETS, PRUNE

# Where the script knows nothing, bash itself completes names of files: given no match, rather than one that is empty.
FILES = {
    "complete -F": "complete -o default -F",
    'COMPREPLY=($(compgen -f -- "$cur"))': "COMPREPLY=()",
    'matches+=("$completion")': '[ -n "$completion" ] && matches+=("$completion")',
}

# bash hands over a NAME:MODEL as three words.
WHOLE_WORDS = """\
import sys

if len(sys.argv) > 2:
    _words, _at, _current = [], int(sys.argv[-1]), int(sys.argv[-1])
    for _position, _word in enumerate(sys.argv[1:-1]):
        if _position > 1 and ":" in (_word, sys.argv[_position]):
            _words[-1] += _word
            _at -= 1 if _position <= _current else 0
        else:
            _words.append(_word)
    sys.argv[1:] = [*_words, str(_at)]
"""


def with_names(script: str, one_of: Mapping[str, Iterable[str]], some_of: Mapping[str, Iterable[str]]) -> str:
    """Adds to tyro's completion script, which knows only the flags, the names that flags and commands accept.

    Where no names are known, file names are completed. A name that a command accepts is added as a subcommand with
    that command's flags.

    Args:
        script: tyro's script for bash or zsh.
        one_of: words of a command, such as ``"list"``, -> names; the command accepts one of them.
        some_of: the same for commands that accept several names.
    """

    def filled(line: re.Match[str]) -> str:
        spec = ast.literal_eval(line[1])
        _fill(spec, _names_of_flags())
        text = f"COMPLETION_SPEC = {spec!r}\n"
        for words, names in {**one_of, **some_of}.items():
            command = "".join(["COMPLETION_SPEC", *(f"['subcommands'][{word!r}]" for word in words.split())])
            # After one of several there may be another, and so on without an end.
            after = f"{command}['subcommands']" if words in some_of else "{}"
            text += f"for _name in {list(names)!r}:\n"
            text += f"    {command}['subcommands'][_name] = "
            text += f"{{**{command}, 'description': _name, 'subcommands': {after}}}\n"
        return text + WHOLE_WORDS

    for found, wanted in FILES.items():
        script = script.replace(found, wanted)
    return re.sub("^COMPLETION_SPEC = (.*)$", filled, script, flags=re.MULTILINE)


def _fill(command: dict[str, Any], names: Mapping[str, list[str]]) -> None:
    for option in command["options"]:
        if option["flags"][0] in names:
            option |= {"type": "choice", "choices": names[option["flags"][0]]}
    for subcommand in command["subcommands"].values():
        _fill(subcommand, names)


def _names_of_flags() -> dict[str, list[str]]:
    from widebasin.data import DATASETS, LABEL_NOISE_KINDS
    from widebasin.sweep.trackers import TRACKERS
    from widebasin.training import OPTIMIZERS, PRECISIONS, PRUNERS, SCHEDULES
    from widebasin.workloads import WORKLOADS
    from widebasin.workloads.arrays import ARCHITECTURES

    known = {axis.flag: axis.names() for axis in AXES if axis.names is not None}
    # Photographs, which are not downloaded, stay on the disk and go with no other model.
    images = [source.name for source in DATASETS.values() if source.files and source.images]
    arrays = [f"{name}:{model}" for name in images for model in ARCHITECTURES]
    known |= {"workload": [*WORKLOADS, *arrays], "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    known |= {"method": known["methods"], "pruner": PRUNERS, "pruners": PRUNERS, "preset": PRESETS, "prune": PRUNE}
    known |= {"budget": BUDGETS, "label_noise_kind": LABEL_NOISE_KINDS, "precision": PRECISIONS, "track": TRACKERS}
    return {f"--{flag.replace('_', '-')}": list(values) for flag, values in known.items()}
