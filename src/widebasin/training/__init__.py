"""Training: one network, or many networks with one architecture in one compiled program."""

from widebasin.training.agent import ASCENTS, PPO, ProximalPolicy
from widebasin.training.bucketed import Bucketed, Cut, shortened
from widebasin.training.checkpoint import CheckpointError, Checkpoints
from widebasin.training.lazy import Centered
from widebasin.training.network import PRECISIONS, Network, computing_in
from widebasin.training.objective import (
    BINARY_TASKS,
    CLASSIFICATION,
    REGRESSION,
    SQUARED_CLASSIFICATION,
    TAGGING,
    Objective,
)
from widebasin.training.optimizers import OPTIMIZERS, NamedOptimizer
from widebasin.training.plan import LOOPS, Plan, choose_plan, devices_of_one
from widebasin.training.point import Point
from widebasin.training.problem import Model, Problem, Totals
from widebasin.training.program import Program
from widebasin.training.pruning import PRUNERS, Pruner, pruned_parameters
from widebasin.training.recipe import SCHEDULES, Recipe
from widebasin.training.state import Hyperparameters, TrainingState
from widebasin.training.streamed import Streamed
from widebasin.training.supervised import Batch, Examples, Supervised, initialization_key
from widebasin.training.train import EpochReport, Trained, train

__all__ = [
    "ASCENTS",
    "BINARY_TASKS",
    "CLASSIFICATION",
    "LOOPS",
    "OPTIMIZERS",
    "PPO",
    "PRECISIONS",
    "PRUNERS",
    "REGRESSION",
    "SCHEDULES",
    "SQUARED_CLASSIFICATION",
    "TAGGING",
    "Batch",
    "Bucketed",
    "Centered",
    "CheckpointError",
    "Checkpoints",
    "Cut",
    "EpochReport",
    "Examples",
    "Hyperparameters",
    "Model",
    "NamedOptimizer",
    "Network",
    "Objective",
    "Plan",
    "Point",
    "Problem",
    "Program",
    "ProximalPolicy",
    "Pruner",
    "Recipe",
    "Streamed",
    "Supervised",
    "Totals",
    "Trained",
    "TrainingState",
    "choose_plan",
    "computing_in",
    "devices_of_one",
    "initialization_key",
    "pruned_parameters",
    "shortened",
    "train",
]
