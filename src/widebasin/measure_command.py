"""The command ``widebasin measure``: the curvature of trained networks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from widebasin.json_output import JsonFile, probe_json, write_json
from widebasin.studies.questions.measured import STUDY as MEASURED
from widebasin.studies.study import Measures
from widebasin.sweep import UsageError
from widebasin.sweep.execution import DataFolder

OneInteger = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: all)")]
OneMethod = Annotated[str | None, tyro.conf.arg(metavar="STR", help_behavior_hint="(default: all)")]
OneNumber = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: all)")]

# What tells the networks of a sweep apart.
WHICH = (
    "width",
    "method",
    "rho",
    "seed",
    "sparsity",
    "label_noise",
    "weight_decay",
    "learning_rate",
    "parametrization",
)


@dataclass(frozen=True)
class MeasureCommand:
    """Measure trained networks: sharpness, uneven Hessians, trace, spectrum, linear stability.

    The results folder must contain parameters: from widebasin train, a study of curvature, or any sweep run with
    --keep-parameters. Writes measure.html, figures and the measurements into that folder.

    Examples:
      widebasin measure results/digits-mlp-width-32-sam-rho-0.05-seed-0
      widebasin measure results/stability --method unnormalized-sam --rho 0.005 --multiples 1 4 16
      widebasin measure results/sweep --width 64 --seed 0 --samples 500 --json measured.json
    """

    folder: tyro.conf.Positional[Path]
    """Results folder."""
    width: OneInteger = None
    """Only networks with this width."""
    method: OneMethod = None
    """Only networks trained with this method."""
    rho: OneNumber = None
    """Only networks trained with this radius."""
    seed: OneInteger = None
    """Only networks with this seed."""
    sparsity: OneNumber = None
    """Only networks with this sparsity; must be 0, because curvature is measured for dense networks only."""
    label_noise: OneNumber = None
    """Only networks with this fraction of wrong training labels."""
    weight_decay: OneNumber = None
    """Only networks with this weight decay."""
    learning_rate: OneNumber = None
    """Only networks with this learning rate."""
    parametrization: OneMethod = None
    """Only networks in this parametrization."""
    measures: tyro.conf.OmitArgPrefixes[Measures] = field(default_factory=Measures)
    data_dir: DataFolder = None
    """Folder of data sets; searched before the cache."""
    json: JsonFile = None
    """Write all measured numbers to a file."""
    quiet: bool = False
    """Show no progress."""

    def run(self, console: Console) -> None:
        """Measures, prints the tables and the path of the page."""
        from widebasin.data.places import look_in
        from widebasin.studies.answering import print_answer, write_answer
        from widebasin.sweep.folder import ResultsFolder
        from widebasin.sweep.progress import tracker
        from widebasin.sweep.spec import canonical_method
        from widebasin.training.compilation import keep_compiled_programs

        if not self.folder.is_dir():
            raise UsageError("folder", str(self.folder), "is not a folder; give one of a sweep with kept parameters")
        probe_json(self.json)
        look_in(self.data_dir)
        keep_compiled_programs()
        folder = ResultsFolder(self.folder, "folder")
        which = {name: getattr(self, name) for name in WHICH if getattr(self, name) is not None}
        if self.method is not None:
            which["method"] = canonical_method("method", self.method)
        answered = write_answer(folder, self.measures, tracker(console, self.quiet), MEASURED, which)
        print_answer(answered, folder, console)
        write_json(self.json, answered.numbers())
