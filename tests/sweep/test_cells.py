from widebasin.sam import ASAM, METHODS, SGD
from widebasin.sweep import Spec, resolve
from widebasin.sweep.cells import cells


def test_the_default_study_has_every_network_once():
    grid = cells(resolve(Spec()))
    assert len(grid) == 6 * 2
    assert [(cell.width, cell.method, len(cell.replicates)) for cell in grid[:2]] == [(4, "sgd", 5), (4, "sam", 30)]
    networks = {(cell.width, cell.method, replicate) for cell in grid for replicate in cell.replicates}
    assert len(networks) == 6 * 7 * 5


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
    assert len(cell.replicates) == len(set(cell.replicates)) == 2 * 2 * 2 * 2
    assert {r.seed for r in cell.replicates} == {5, 6}
    assert {r.label_noise for r in cell.replicates} == {0.0, 0.4}


def test_sgd_has_radius_zero_and_is_trained_once_per_seed():
    (cell,) = cells(resolve(Spec(widths=(3,), methods=("sgd",), seeds=4)))
    assert [(r.rho, r.seed) for r in cell.replicates] == [(0.0, seed) for seed in range(4)]


def test_the_recipe_of_the_spec_reaches_the_task():
    (cell,) = cells(
        resolve(Spec(widths=(3,), methods=("sgd",), epochs=7, batch_size=20, momentum=0.5, schedule="cosine"))
    )
    recipe = cell.task().recipe
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
    assert all(cell.task().recipe.epochs == cell.recipe.epochs for cell in grid)
    equal_epochs = cells(resolve(Spec(widths=(8,), methods=methods, epochs=60)))
    assert {cell.recipe.epochs for cell in equal_epochs} == {60}


def test_an_equal_number_of_gradients_is_at_least_one_epoch():
    grid = cells(resolve(Spec(widths=(8,), methods=("multi-step-sam",), epochs=1, budget="gradients")))
    assert grid[0].recipe.epochs == 1


def test_m_reaches_the_method_but_not_sgd_which_has_no_ascent():
    sgd, asam = cells(resolve(Spec(widths=(8,), methods=("sgd", "asam"), m=25)))
    assert asam.with_radius(0.5) == ASAM(0.5, m=25)
    assert sgd.with_radius(0.0) == SGD()
