import equinox as eqx
import jax
import pytest

from widebasin import sam
from widebasin.data import DataError
from widebasin.models import count_parameters
from widebasin.training import Plan, Point, Program, train
from widebasin.workloads import WORKLOADS

OF_EXAMPLES = [name for name, workload in WORKLOADS.items() if workload.has_examples]


@pytest.mark.parametrize("name", OF_EXAMPLES)
def test_a_workload_is_found_under_its_name_and_fits_its_data(name):
    workload = WORKLOADS[name]
    try:
        dataset = workload.load()
    except DataError as error:
        pytest.skip(str(error))
    sizes = workload.sizes
    assert workload.name == name
    assert sizes.train + sizes.valid + sizes.test <= len(dataset)
    assert workload.recipe.batch_size <= sizes.train
    assert (dataset.num_classes is None) == (workload.metrics[0].name == "loss")


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_parameters_are_counted_without_building_the_network(name):
    workload = WORKLOADS[name]
    width = workload.widths[0]
    # Those of examples are built without their data, which may be large.
    own = {
        axis.name: axis.single_value(workload) for axis in workload.axes if not axis.traced and workload.has_examples
    }
    try:
        model, _ = eqx.nn.make_with_state(workload.build)(width, jax.random.key(0), **own)
    except DataError as error:
        pytest.skip(str(error))
    assert workload.num_params(width) == count_parameters(model)


def test_the_ladder_of_the_digits():
    workload = WORKLOADS["digits-mlp"]
    assert [workload.num_params(w) for w in workload.widths] == [882, 1_850, 4_074, 9_674, 25_482, 75_530]


def test_the_synthetic_ladder_goes_from_ten_to_a_hundred_thousand_parameters():
    workload = WORKLOADS["synthetic-mlp"]
    assert [workload.num_params(w) for w in workload.widths] == [100 * w + 1 for w in workload.widths]


def test_methods_of_one_width_share_their_task():
    workload = WORKLOADS["digits-mlp"]
    assert workload.problem(8, workload.recipe) is workload.problem(8, workload.recipe)


@pytest.mark.parametrize("name", ["mnist-mlp", "cifar10-resnet18", "imagenet-resnet50"])
def test_published_gains_are_at_sizes_of_the_ladder(name):
    workload = WORKLOADS[name]
    assert set(workload.published) == {workload.num_params(width) for width in workload.widths}


@pytest.mark.parametrize("name", ["digits-mlp", "cifar10-resnet18"])
def test_the_largest_network_can_be_pruned_to_the_size_of_each_other_one(name):
    workload = WORKLOADS[name]
    widths = workload.widths[:5]
    sparsities = workload.matching_sparsities(widths)
    for pruner in ("random", "snip"):
        for width, sparsity in zip(widths[-2::-1], sparsities, strict=True):
            assert workload.num_params(widths[-1], sparsity, pruner) == pytest.approx(
                workload.num_params(width), abs=1e-4 * workload.num_params(widths[-1])
            )


def test_four_fold_narrower_residual_networks_match_the_published_sparsities():
    sparsities = WORKLOADS["cifar10-resnet18"].matching_sparsities((4, 8, 16, 32, 64))
    assert [round(s, 3) for s in sparsities] == pytest.approx([0.75, 0.9375, 0.984, 0.996], abs=2e-3)


def test_the_smallest_of_a_long_ladder_is_matched_too():
    """A hundredth of a percent of the largest is 10% of width 8, and of width 4 it is 40%."""
    workload = WORKLOADS["cifar10-resnet18"]
    sparsities = workload.matching_sparsities(workload.widths)
    for width, sparsity in zip(workload.widths[-2::-1], sparsities, strict=True):
        assert workload.num_params(256, sparsity, "snip") == pytest.approx(workload.num_params(width), rel=0.005)


def test_embedded_data_of_language_and_graphs_are_listed_before_those_to_be_fetched():
    names = list(WORKLOADS)
    assert names[6:9] == ["phrases-lstm", "grammar-transformer", "rings-gcn"]
    assert all("(embedded)" in WORKLOADS[name].description for name in names[6:9])
    assert all(WORKLOADS[name].buckets is not None for name in names[6:9])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width", "bar"),
    [("phrases-lstm", 8, 0.9), ("grammar-transformer", 16, 0.97), ("rings-gcn", 16, 0.75)],
)
def test_embedded_data_of_language_and_graphs_are_learnt(name, width, bar):
    """By the metric that judges, on the test part, after the whole recipe, at a width in the middle of the ladder."""
    workload = WORKLOADS[name]
    assert width == workload.widths[1]
    problem = workload.problem(width, workload.recipe)
    axes = {"learning_rate": workload.recipe.learning_rate, "weight_decay": workload.recipe.weight_decay}
    one = Point.of(0, rho=0.0, label_noise=0.0, **axes, **dict.fromkeys(workload.given, 0.0))
    done = train(Program(problem, sam.METHODS["sgd"].with_radius, Plan(1, "scan", "cpu")), [one])
    assert done.history[f"test_{workload.metrics[0].name}"][0, -1] >= bar
