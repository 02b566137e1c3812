"""Noisy linear regression on the first h features: interpolation depends on width, and all constants are known."""

from widebasin.data import SplitSizes, noisy_linear_targets
from widebasin.models import LinearRegression
from widebasin.training import REGRESSION, Recipe
from widebasin.workloads.workload import SupervisedWorkload

LEAST_SQUARES = SupervisedWorkload(
    name="least-squares",
    model="linear-regression",
    description="noisy linear regression (embedded), squared error, the first h of 400 features",
    load=noisy_linear_targets,
    build=lambda width, key: LinearRegression(width),
    sizes=SplitSizes(train=100, valid=400, test=500),
    objective=REGRESSION,
    recipe=Recipe(epochs=600, batch_size=10, learning_rate=0.5, schedule="constant", momentum=0.0),
    widths=(20, 400),
    rhos=(0.002, 0.01, 0.1),
)
