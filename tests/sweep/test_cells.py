import dataclasses

import pytest

from widebasin.axis import Axis
from widebasin.sam import ASAM, METHODS, SGD
from widebasin.sweep import Spec, UsageError, resolve
from widebasin.sweep.cells import cells, file_name
from widebasin.sweep.spec import spec_type
from widebasin.training import Centered, Supervised
from widebasin.workloads import WORKLOADS


def test_the_default_study_has_every_network_once():
    grid = cells(resolve(Spec()))
    assert len({(cell.width, point) for cell in grid for point in cell.points}) == 6 * 7 * 5
    for cell in grid:
        methods = [point["method"] for point in cell.points]
        assert methods == sorted(methods, key=["sgd", "sam"].index)
        assert all(point["rho"] == 0 for point in cell.points if point["method"] == "sgd")


def test_the_baseline_trains_along_with_sam_where_it_is_small_and_nothing_tells_them_apart():
    def parts(**grid):
        found = cells(resolve(Spec(**{"widths": (4,), "rhos": (0.1,), "seeds": 2} | grid)))
        return [(cell.name.removeprefix("digits-mlp-width-"), len(cell.points)) for cell in found]

    assert parts() == [("4-sgd-and-sam", 4)]
    assert parts(widths=(512,)) == [("512-sgd", 2), ("512-sam", 2)]
    assert parts(m=50) == [("4-sgd", 2), ("4-sam", 2)]
    assert parts(budget="gradients") == [("4-sgd", 2), ("4-sam", 2)]
    assert parts(methods=("sgd", "asam")) == [("4-sgd", 2), ("4-asam", 2)]


def test_every_combination_is_there():
    spec = Spec(
        widths=(3,),
        methods=("sam",),
        rhos=(0.1, 0.2),
        seeds=2,
        first_seed=5,
        label_noise=(0.0, 0.4),
        weight_decay=(0.0, 1e-3),
    )
    (cell,) = cells(resolve(spec))
    assert len(cell.points) == len(set(cell.points)) == 2 * 2 * 2 * 2
    assert {r.seed for r in cell.points} == {5, 6}
    assert {r["label_noise"] for r in cell.points} == {0.0, 0.4}


def test_sgd_has_radius_zero_and_is_trained_once_per_seed():
    (cell,) = cells(resolve(Spec(widths=(3,), methods=("sgd",), seeds=4)))
    assert [(r["rho"], r.seed) for r in cell.points] == [(0.0, seed) for seed in range(4)]


def test_the_recipe_of_the_spec_reaches_the_task():
    (cell,) = cells(
        resolve(Spec(widths=(3,), methods=("sgd",), epochs=7, batch_size=20, momentum=0.5, schedule="cosine"))
    )
    recipe = cell.problem().recipe
    assert (recipe.epochs, recipe.batch_size, recipe.momentum, recipe.schedule) == (7, 20, 0.5, "cosine")


def test_names_are_unique_folder_names():
    names = [cell.name for cell in cells(resolve(Spec()))]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() for name in names)


def test_an_equal_number_of_gradients_is_that_of_sam():
    methods = ("sgd", "sam", "looksam", "multi-step-sam", "linearized-sam")
    grid = cells(resolve(Spec(widths=(8,), methods=methods, epochs=60, budget="gradients")))
    assert {cell.method: cell.recipe.epochs for cell in grid} == {
        "sgd": 120,
        "sam": 60,
        "looksam": 100,
        "multi-step-sam": 40,
        "linearized-sam": round(120 / METHODS["linearized-sam"].with_radius(0.0).gradients_per_step),
    }
    assert all(cell.problem().recipe.epochs == cell.recipe.epochs for cell in grid)
    equal_epochs = cells(resolve(Spec(widths=(8,), methods=methods, epochs=60)))
    assert {cell.recipe.epochs for cell in equal_epochs} == {60}


def test_an_equal_number_of_gradients_is_at_least_one_epoch():
    grid = cells(resolve(Spec(widths=(8,), methods=("multi-step-sam",), epochs=1, budget="gradients")))
    assert grid[0].recipe.epochs == 1


def test_m_reaches_the_method_but_not_sgd_which_has_no_ascent():
    sgd, asam = cells(resolve(Spec(widths=(8,), methods=("sgd", "asam"), m=25)))
    assert asam.with_radius(0.5) == ASAM(0.5, m=25)
    assert sgd.with_radius(0.0) == SGD()


def levels(cell):
    return [(r["pruner"], r["sparsity"]) for r in cell.points]


def test_dense_networks_are_there_once_whatever_the_pruners():
    spec = Spec(widths=(3,), methods=("sgd",), seeds=1, sparsity=(0.5, 0.0, 0.75), pruners=("random", "snip"))
    (cell,) = cells(resolve(spec))
    assert levels(cell) == [
        *(("none", 0.0), ("random", 0.5), ("snip", 0.5)),
        *(("random", 0.75), ("snip", 0.75)),
    ]
    assert len(set(cell.points)) == 5
    (without,) = cells(resolve(Spec(widths=(3,), methods=("sgd",), seeds=1, sparsity=(0.5,), pruners=("snip",))))
    assert levels(without) == [("snip", 0.5)]


@pytest.mark.parametrize(("sparsity", "largest"), [((0.0, 0.5), [0.0, 0.5]), ((0.5,), [0.5])])
def test_where_the_largest_network_is_pruned_the_others_are_dense(sparsity, largest):
    spec = Spec(widths=(3, 8, 5), methods=("sgd",), seeds=1, sparsity=sparsity, prune="largest")
    grid = cells(resolve(spec))
    assert {cell.width: [level for _, level in levels(cell)] for cell in grid} == {3: [0.0], 8: largest, 5: [0.0]}


def test_parameters_are_counted_without_those_that_are_pruned():
    (cell,) = cells(
        resolve(Spec(widths=(4,), methods=("sgd",), seeds=1, sparsity=(0.0, 0.5), pruners=("random", "snip")))
    )
    kernels = (64 * 12, 12 * 4, 4 * 10)
    assert [cell.num_params(r) for r in cell.points] == [882, 882 - sum(kernels) // 2, 882 - sum(kernels) // 2]


def test_scales_make_the_task_centered_and_precision_and_examples_reach_it():
    spec = Spec(widths=(3,), methods=("sam",), rhos=(0.1,), seeds=2, output_scale=(1.0, 100.0), precision="float64")
    (cell,) = cells(resolve(spec))
    assert [(r["output_scale"], r.seed) for r in cell.points] == [(1.0, 0), (1.0, 1), (100.0, 0), (100.0, 1)]
    assert isinstance(cell.problem(), Centered)
    assert cell.problem().recipe.precision == "float64"
    (plain,) = cells(resolve(Spec(widths=(3,), methods=("sgd",), seeds=1, train_examples=200)))
    assert isinstance(plain.problem(), Supervised)
    assert [r["output_scale"] for r in plain.points] == [1.0]
    assert (plain.problem().sizes.train, plain.problem().sizes.valid, plain.problem().steps_per_epoch) == (200, 300, 2)


@pytest.mark.parametrize(
    ("workload", "name"),
    [
        ("my.npz", "my.npz"),
        ("/home/me/data sets/my.npz:vit", "my.npz-vit"),
        ("../a/näher b.npz:mlp", "n-her-b.npz-mlp"),
        ("digits-mlp", "digits-mlp"),
        (f"{'x' * 250}.npz:vit", "x" * 100),
    ],
)
def test_names_of_files_of_arrays_are_names_of_one_folder(workload, name):
    assert file_name(workload) == name


def test_values_that_would_share_a_folder_are_refused(monkeypatch):
    usual = WORKLOADS["line-mlp"]
    axis = Axis("layout", "layouts", str, "a text", lambda value: True, ("a", "b"), traced=False)
    own = dataclasses.replace(usual, axes=(axis,), build=lambda width, key, layout="a": usual.build(width, key))
    monkeypatch.setitem(WORKLOADS, "line-mlp", own)
    kind = spec_type((axis,))
    grid = {"workload": "line-mlp", "widths": (2,), "methods": ("sgd",)}
    assert len({cell.name for cell in cells(resolve(kind(layouts=("a-b", "a.b"), **grid)))}) == 2
    with pytest.raises(UsageError, match=r"layouts = \('a b', 'a_b'\): has values that give the same file name"):
        cells(resolve(kind(layouts=("a b", "a_b"), **grid)))
