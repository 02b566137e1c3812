"""The coordinate check: what its instrument measures, and what is said of tables whose truth is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from studies.commands import studied
from studies.described import tables as tables_of

from widebasin import sam
from widebasin.curvature import NotFiniteError
from widebasin.parametrization import activation_sizes, layer_effects, perturbation
from widebasin.studies import STUDIES, Options
from widebasin.studies.coordinates import COORDINATES, _ascent_point_of, coordinates_instrument
from widebasin.studies.instruments import training_examples
from widebasin.sweep import Execution, Spec, UsageError, resolve
from widebasin.sweep.folder import ResultsFolder
from widebasin.sweep.networks import load_network
from widebasin.sweep.run import run
from widebasin.workloads import WORKLOADS

STUDY = STUDIES["coordinate-check"]
SMALL = {"seeds": 1, "epochs": 1, "train_examples": 100, "batch_size": 50, "label_noise": (0.0,)}


def trained(path, **spec):
    spec = Spec(**SMALL | {"methods": ("sam",), "rhos": (0.1,)} | spec)
    return load_network(run(spec, path, execution=Execution(keep_parameters=True)).path)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A perceptron trained with muP^2, twice as wide as its base."""
    return trained(tmp_path_factory.mktemp("mup2"), widths=(6,), parametrization=("mup2",), base_width=3)


def rows_by_layer(network, samples=64, widths=(3, 6)):
    return {row["layer"]: row for row in coordinates_instrument(samples, widths).rows(network)}


# The instrument -------------------------------------------------------------------------------------------------------


def test_sizes_and_effects_are_those_of_the_network_in_its_own_parametrization(network):
    inputs, targets = training_examples(network, 64)

    def outputs(model):
        return jax.vmap(model)(inputs)

    def loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(outputs(model), jnp.asarray(targets)).mean()

    workload = WORKLOADS["digits-mlp"]
    scales = perturbation(workload.multipliers(6, network.cell.settings))
    before, after = network.initial_model(), network.model
    # muP's last layer is smaller than the standard one by the root of 2.
    standard = workload.network(6).initialize(jax.random.key(0))[0].weights[-1]
    assert jnp.std(before.weights[-1]) / jnp.std(standard) == pytest.approx(0.5**0.5, rel=0.3)
    found = rows_by_layer(network)
    assert [row["role"] for row in found.values()] == ["input", "hidden", "output"]

    @jax.jit
    def ascended(model):
        return sam.ascent_point(model, jax.grad(loss)(model), 0.1, scales=scales)

    expected = {"update": layer_effects(outputs, before, after)}
    for model, when in ((before, "initial"), (after, "final")):
        expected[f"activation_{when}"] = activation_sizes(outputs, model)
        expected[f"ascent_{when}"] = layer_effects(outputs, model, ascended(model))
    assert set(expected) == set(COORDINATES)
    for column, sizes in expected.items():
        for layer, size in sizes.items():
            np.testing.assert_allclose(found[layer][column], size, rtol=1e-3, err_msg=f"{column} of {layer}")


def test_the_ascent_of_groups_is_that_of_the_first_group(network):
    grouped = dataclasses.replace(network, cell=dataclasses.replace(network.cell, m=16))
    few, whole, ours = rows_by_layer(network, 16), rows_by_layer(network, 64), rows_by_layer(grouped, 64)
    for layer, row in ours.items():
        assert row["update"] == pytest.approx(whole[layer]["update"])
        assert row["ascent_final"] != pytest.approx(whole[layer]["ascent_final"], rel=1e-3)
    # Of one group alone, it is also measured on it.
    assert rows_by_layer(grouped, 16) == few


def test_without_an_ascent_there_is_no_effect_of_it(network):
    plain = dataclasses.replace(network, point=network.point.moved(method="sgd", rho=0.0))
    for row in rows_by_layer(plain).values():
        assert np.isnan([row["ascent_initial"], row["ascent_final"]]).all()
        assert min(row["activation_initial"], row["activation_final"], row["update"]) > 0


def test_a_network_that_diverged_has_no_sizes(network):
    diverged = dataclasses.replace(network, model=jax.tree.map(lambda leaf: leaf * jnp.nan, network.model))
    instrument = coordinates_instrument(64, (3, 6))
    with pytest.raises(NotFiniteError, match="diverged"):
        instrument.rows(diverged)
    assert set(instrument.nothing) == {"layer", "role", *COORDINATES}
    assert np.isnan([instrument.nothing[column] for column in COORDINATES]).all()


@pytest.mark.slow
def test_batch_normalization_uses_the_statistics_of_the_examples(tmp_path):
    network = trained(tmp_path, workload="digits-resnet", widths=(2,), parametrization=("mup",), base_width=1)
    found = rows_by_layer(network, widths=(1, 2))
    products = {name for name in found if not name.endswith("normalization")}
    for name, row in found.items():
        numbers = np.array([row[column] for column in COORDINATES])
        assert np.isfinite(numbers[2:]).all()
        assert np.isfinite(numbers[:2]).all() == (name in products)
    # Whatever the scale of the kernel before it.
    assert found["stem.convolution"]["role"] == "input"
    assert found["last"]["role"] == "output"


@pytest.mark.parametrize("name", ["sam", "unnormalized-sam", "asam", "asam:eta=0.5"])
@pytest.mark.parametrize("scaled", [False, True])
def test_ascents_are_those_of_the_methods(name, scaled):
    """Of a loss whose gradient is ``g`` at ``w`` and ``g + (w' - w)`` at ``w'``, the method gives the ascent away."""
    random = np.random.default_rng(0)
    w = {"a": jnp.asarray(random.normal(size=(3, 2))), "b": jnp.asarray(random.normal(size=2))}
    g = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), w)
    factors = sam.Scales({"a": 2.0, "b": 0.5}, {"a": 3.0, "b": jnp.array([0.2, 0.3])})
    method = sam.method_named(name).with_radius(0.3)
    method = dataclasses.replace(method, scales=(lambda _: factors) if scaled else None)

    def loss(params):
        move = jax.tree.map(jnp.subtract, params, w)
        return sum(jnp.vdot(move[key], g[key]) + 0.5 * jnp.vdot(move[key], move[key]) for key in w)

    _, gradient, _ = method.value_and_grad(loss)(w, method.init(w))
    found = _ascent_point_of(method, w, g)
    for key in w:
        np.testing.assert_allclose(found[key] - w[key], gradient[key] - g[key], rtol=1e-4, atol=1e-5)


# The answer -----------------------------------------------------------------------------------------------------------

POWERS = {
    "standard": {"input": -0.5, "hidden": 0.5, "output": 1.0},
    "mup": {"input": -1.5, "hidden": -0.5, "output": 0.5},
    "mup2": dict.fromkeys(("input", "hidden", "output"), 0.0),
}


def measured(seeds=3, powers=POWERS, noise=0.02):
    """Sizes that follow powers of the width, of layers ``one``, ``two`` and ``three``; the first has no product."""
    random, rows = np.random.default_rng(0), []
    for width in (32, 128, 512):
        for parametrization, by_role in powers.items():
            for seed in range(seeds):
                for layer, (role, power) in zip(("one", "two", "three"), by_role.items(), strict=True):
                    size = 0.1 * (width / 32) ** power * np.exp(noise * random.normal())
                    which = {"width": width, "parametrization": parametrization, "seed": seed, "method": "sam"}
                    row = which | {"rho": 0.1, "layer": layer, "role": role} | dict.fromkeys(COORDINATES, size)
                    if layer == "one":
                        row |= {"activation_initial": np.nan, "activation_final": np.nan}
                    rows.append(row)
    return pd.DataFrame(rows)


def answered(table):
    return STUDY.answer(resolve(STUDY.spec), tables_of(pd.DataFrame(), {"coordinates": table}), Options())


def test_known_powers_are_found_layer_by_layer():
    answer = answered(measured())
    (table,) = answer.tables
    assert len(table.rows) == 9
    for layer, role, parametrization, *cells in table.rows:
        assert cells[0] == cells[1] == "—" if layer == "one" else cells[0] != "—"
        for cell in cells:
            if cell != "—":
                assert float(cell.split()[0]) == pytest.approx(POWERS[parametrization][role], abs=0.05)
                assert cell.count(" to ") == 1
    assert [row[0] for row in table.rows] == [name for name in ("one", "two", "three") for _ in POWERS]
    assert "to the power -0.5" in table.note
    assert [picture.name for picture in answer.pictures] == [column.replace("_", "-") for column in COORDINATES]


def test_the_layer_that_changes_most_is_named_with_its_factor():
    findings = answered(measured(noise=0.001)).findings
    assert len(findings) == 3 * len(COORDINATES)
    (mup,) = [one for one in findings if one.startswith("mup: the effect of the perturbation after training")]
    assert "changes most in layer one (input), over widths 32 to 512 by a factor of 64, as the width to the" in mup
    assert mup.endswith("it shrinks.")
    (standard,) = [one for one in findings if one.startswith("standard: the effect of the update in training")]
    assert "layer three (output), over widths 32 to 512 by a factor of 16," in standard
    assert standard.endswith("it grows.")


def test_a_size_that_stays_has_no_trend():
    findings = [one for one in answered(measured(noise=0.1, seeds=5)).findings if one.startswith("mup2")]
    assert sum("no trend beyond the seeds' spread" in one for one in findings) >= 3


def test_one_seed_gives_no_verdict():
    answer = answered(measured(seeds=1))
    assert all(one.endswith("no verdict from one seed.") for one in answer.findings)
    assert all(" to " not in cell for row in answer.tables[0].rows for cell in row[3:])


def test_networks_that_diverged_are_counted_and_left_out():
    table = measured()
    lost = (table["width"] == 512) & (table["parametrization"] == "standard") & (table["seed"] == 0)
    nothing = table[lost].head(1).assign(layer="", role="", **dict.fromkeys(COORDINATES, np.nan))
    answer = answered(pd.concat([table[~lost], nothing]))
    assert answer.findings[-1] == "Networks that diverged, and are not measured: 1."
    assert answer.tables[0].rows == answered(table[~lost]).tables[0].rows


def test_without_an_ascent_the_others_are_shown():
    answer = answered(measured().assign(ascent_initial=np.nan, ascent_final=np.nan))
    assert [picture.name for picture in answer.pictures] == ["activation-initial", "activation-final", "update"]
    assert len(answer.findings) == 9


def test_of_many_layers_those_of_a_role_share_a_colour():
    table = measured()
    copies = [table.assign(layer=table["layer"] + str(number)) for number in range(4)]
    (figure, *_) = [picture.figure for picture in answered(pd.concat(copies)).pictures if picture.name == "update"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["input", "hidden", "output"]
    assert {len(axes.lines) for axes in figure.axes} == {12}


# Which grids it can answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("widths", (32,), "must be at least two"),
        ("methods", ("sgd", "sam"), "must be one value"),
        ("methods", ("esam",), "must be one of sgd, sam"),
        ("rhos", (0.1, 0.2), "must be one value"),
        ("learning_rate", (0.1, 0.2), "must be one value"),
        ("sparsity", (0.5,), "all entries of a layer are moved"),
        ("output_scale", (1.0,), r"f\(w\) is measured"),
    ],
)
def test_other_grids_are_refused(argument, value, message):
    spec = resolve(dataclasses.replace(STUDY.spec, base_width=32, **{argument: value}))
    with pytest.raises(UsageError, match=f"{argument} = .*{message}"):
        STUDY.check(spec)


def test_radii_of_a_method_are_one_too():
    spec = resolve(dataclasses.replace(STUDY.spec, radii=("sam=0.1,0.2",)))
    with pytest.raises(UsageError, match="at one radius"):
        STUDY.check(spec)


BOTH = ("--parametrization", "standard", "mup2")


@pytest.mark.slow
def test_the_study_is_run_and_answered(tmp_path):
    text = studied("coordinate-check", tmp_path, "--widths", "4", "8", "--base-width", "4", *BOTH)
    assert "standard: the size of activations at initialization changes most in layer" in text
    assert "mup2: the effect of the perturbation after training changes most in layer" in text
    table = ResultsFolder(tmp_path / "out").measurements("coordinates")
    assert len(table) == 2 * 2 * 2 * 3
    # At the base width all parametrizations are the same.
    base = table[table["width"] == 4].pivot_table(index=["seed", "layer"], columns="parametrization", values="update")
    np.testing.assert_allclose(base["mup2"], base["standard"], rtol=1e-4)
