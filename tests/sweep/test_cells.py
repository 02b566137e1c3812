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
