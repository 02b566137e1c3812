"""Training: one network, or many replicates of one architecture in one compiled program."""

from widebasin.training.checkpoint import CheckpointError, Checkpoints
from widebasin.training.network import PRECISIONS, Network, computing_in
from widebasin.training.objective import CLASSIFICATION, REGRESSION, SQUARED_CLASSIFICATION, Objective
from widebasin.training.plan import LOOPS, Plan, choose_plan
from widebasin.training.preparation import Examples, examples_of, initialization_key
from widebasin.training.program import Hyperparameters, Program, TrainingState
from widebasin.training.pruning import PRUNERS, pruned_parameters
from widebasin.training.recipe import OPTIMIZERS, SCHEDULES, Recipe
from widebasin.training.streamed import StreamedProgram, program_for
from widebasin.training.task import Point, Replicate, Task
from widebasin.training.train import EpochReport, Trained, train

__all__ = [
    "CLASSIFICATION",
    "LOOPS",
    "OPTIMIZERS",
    "PRECISIONS",
    "PRUNERS",
    "REGRESSION",
    "SCHEDULES",
    "SQUARED_CLASSIFICATION",
    "CheckpointError",
    "Checkpoints",
    "EpochReport",
    "Examples",
    "Hyperparameters",
    "Network",
    "Objective",
    "Plan",
    "Point",
    "Program",
    "Recipe",
    "Replicate",
    "StreamedProgram",
    "Task",
    "Trained",
    "TrainingState",
    "choose_plan",
    "computing_in",
    "examples_of",
    "initialization_key",
    "program_for",
    "pruned_parameters",
    "train",
]
