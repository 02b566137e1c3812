import jax
import pytest

from widebasin.models import count_parameters
from widebasin.workloads import WORKLOADS


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_is_found_under_its_name_and_fits_its_data(name):
    workload = WORKLOADS[name]
    dataset = workload.load()
    sizes = workload.sizes
    assert workload.name == name
    assert sizes.train + sizes.valid + sizes.test <= len(dataset)
    assert workload.recipe.batch_size <= sizes.train
    assert (dataset.num_classes is None) == (workload.objective.best == "loss")


@pytest.mark.parametrize("name", WORKLOADS)
def test_parameters_are_counted_without_building_the_network(name):
    workload = WORKLOADS[name]
    for width in (workload.widths[0], workload.widths[-1]):
        assert workload.num_params(width) == count_parameters(workload.build(width, jax.random.key(0)))


def test_the_ladder_of_the_digits():
    workload = WORKLOADS["digits-mlp"]
    assert [workload.num_params(w) for w in workload.widths] == [882, 1_850, 4_074, 9_674, 25_482, 75_530]


def test_the_synthetic_ladder_goes_from_ten_to_a_hundred_thousand_parameters():
    workload = WORKLOADS["synthetic-mlp"]
    assert [workload.num_params(w) for w in workload.widths] == [100 * w + 1 for w in workload.widths]


def test_methods_of_one_width_share_their_task():
    workload = WORKLOADS["digits-mlp"]
    assert workload.task(8, workload.recipe) is workload.task(8, workload.recipe)
