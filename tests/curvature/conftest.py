import jax
import pytest
from curvature.problems import problem, smooth_problem


@pytest.fixture(autouse=True)
def float64():
    """Double precision in every test of curvature."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def classifier():
    with jax.enable_x64(True):
        return problem()


@pytest.fixture(scope="session")
def network():
    with jax.enable_x64(True):
        return smooth_problem()
