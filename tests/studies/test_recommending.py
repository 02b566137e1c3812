"""``widebasin tune``: what it trains by default, what it recommends, and the command that it prints."""

import dataclasses
import shlex

import pytest
from report.transfer_tables import RADII, RATES, transfer_table
from studies.described import tables

from widebasin import cli
from widebasin.studies import STUDIES, Options
from widebasin.studies.answering import Answered
from widebasin.studies.recommending import commands, recommendation_table, recommendations, to_tune
from widebasin.studies.running import single_network
from widebasin.sweep import Spec, UsageError, resolve
from widebasin.sweep.cells import cells
from widebasin.training_commands import TUNED, single
from widebasin.workloads import WORKLOADS


def answered(results, **given):
    grid = {"widths": (10, 100), "base_width": 10, "learning_rate": RATES, "rhos": RADII} | given
    spec = resolve(Spec(study="transfer", parametrization=("mup2",), **grid))
    return Answered(None, "", tables(results), STUDIES["transfer"], spec)


def test_by_default_two_widths_in_the_middle_and_rates_around_the_workloads_own_are_tried():
    spec = to_tune(TUNED, 1024)
    assert (spec.widths, spec.base_width, spec.parametrization) == ((16, 32), 16, ("mup2",))
    assert spec.learning_rate == (0.025, 0.05, 0.1, 0.2, 0.4)
    assert resolve(spec).rhos == WORKLOADS["digits-mlp"].rhos


@pytest.mark.parametrize(
    ("argument", "target", "given"),
    [
        ("width", 8, {}),
        ("width", 4, {}),
        ("width", 64, {"widths": (64, 128)}),
        ("width", 0, {}),
        ("parametrization", 1024, {"parametrization": ("standard",)}),
        ("width", 1001, {"workload": "digits-vit", "widths": (16, 32)}),
        ("parametrization", 1024, {"workload": "cartpole-ppo"}),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_is_trained(argument, target, given):
    with pytest.raises(UsageError) as error:
        to_tune(Spec(study="transfer", **given), target)
    assert error.value.argument == argument


def test_the_best_of_the_largest_width_is_recommended():
    """The optimum is at .22 and .11 at all widths under muP^2, of those tried at .2 and .1; SGD has the same rate."""
    results = transfer_table(("mup2",), widths=(10, 100))
    found = recommendations(answered(results), Options())
    assert {one.method: (one.learning_rate, one.rho, one.width) for one in found} == {
        "sgd": (0.2, 0.0, 100),
        "sam": (0.2, 0.1, 100),
    }
    table = recommendation_table(found, answered(results), 4096)
    assert table.title == "To use at width 4,096"
    assert ("SAM", "0.2", "0.1", "100", "—") in table.rows


def test_values_at_an_end_are_marked_and_diverged_networks_not_recommended():
    narrow = transfer_table(("mup2",), rates=(0.05, 0.1), widths=(10, 100))
    (sam,) = [one for one in recommendations(answered(narrow), Options()) if one.method == "sam"]
    assert sam.edges == "largest learning rate tried"
    lost = transfer_table(("mup2",), widths=(10, 100), diverged=lambda network, rate: network.width == 100)
    assert recommendations(answered(lost), Options()) == ()


def test_what_only_guesses_is_not_recommended():
    results = transfer_table(("mup2",), widths=(10, 100)).assign(train_accuracy=0.1, label_noise=0.0)
    found = answered(results)
    found = dataclasses.replace(
        found,
        tables=dataclasses.replace(found.tables, description=dataclasses.replace(found.tables.description, chance=0.1)),
    )
    assert recommendations(found, Options()) == ()


def test_epochs_are_those_of_the_method_where_gradients_are_equal():
    found = answered(transfer_table(("mup2",), widths=(10, 100)), budget="gradients", epochs=7)
    printed = list(commands(recommendations(found, Options()), found.spec, 4096))
    epochs = {name: next(line for line in printed if f"--method {name}" in line) for name in ("sgd", "sam")}
    assert "--epochs 14" in epochs["sgd"]
    assert "--epochs 7" in epochs["sam"]


def test_the_printed_command_trains_the_large_network_with_the_same_settings():
    results = transfer_table(("mup2",), widths=(10, 100))
    found = answered(results, label_noise=(0.1,), epochs=7, batch_size=50, weight_decay=(0.001,))
    printed = list(commands(recommendations(found, Options()), found.spec, 4096))
    (sam,) = [line for line in printed if "--method sam" in line]
    parsed = cli._parse(shlex.split(sam)[1:])
    spec, _ = single_network(*single(parsed))
    (cell,) = cells(resolve(spec))
    (point,) = cell.points
    assert (cell.width, cell.settings.parametrization, cell.settings.base_width) == (4096, "mup2", 10)
    assert (cell.recipe.epochs, cell.recipe.batch_size) == (7, 50)
    wanted = {"rho": 0.1, "learning_rate": 0.2, "label_noise": 0.1, "weight_decay": 0.001, "method": "sam"}
    assert {name: point[name] for name in wanted} == wanted


def test_one_width_to_tune_on_is_too_few():
    with pytest.raises(UsageError, match="must be at least two") as error:
        to_tune(Spec(widths=(8,)), 64)
    assert error.value.argument == "widths"
