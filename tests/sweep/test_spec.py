import dataclasses
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widebasin.axis import Axis
from widebasin.sweep import Execution, Spec, UsageError, nearest_name, read_spec, resolve, spec_toml
from widebasin.sweep.spec import spec_type, workload_named
from widebasin.sweep.spec_file import differences, parse_resolved
from widebasin.workloads import WORKLOADS


def test_what_is_left_out_comes_from_the_workload():
    spec = resolve(Spec())
    assert spec.widths == (4, 8, 16, 32, 64, 128)
    assert spec.rhos == (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    assert spec.label_noise == (0.3,)
    assert (spec.epochs, spec.batch_size, spec.learning_rate, spec.weight_decay) == (60, 100, (0.1,), (1e-4,))


def test_resolving_twice_changes_nothing():
    assert resolve(resolve(Spec(widths=(7,)))) == resolve(Spec(widths=(7,)))


BAD = [
    (Spec(workload="digits-mpl"), "workload", "digits-mlp"),
    (Spec(methods=("sgd", "samm")), "methods", "'sam'"),
    (Spec(widths=()), "widths", "must not be empty"),
    (Spec(widths=(4, 0)), "widths", "at least 1"),
    (Spec(widths=(-3,)), "widths", "at least 1"),
    (Spec(widths=(4, 4)), "widths", "must not repeat"),
    (Spec(methods=()), "methods", "must not be empty"),
    (Spec(rhos=()), "rhos", "must not be empty"),
    (Spec(rhos=(-0.1,)), "rhos", ">= 0"),
    (Spec(rhos=(float("nan"),)), "rhos", "finite"),
    (Spec(rhos=(float("inf"),)), "rhos", "finite"),
    (Spec(label_noise=(1.0,)), "label_noise", "[0, 1)"),
    (Spec(label_noise=(-0.1,)), "label_noise", "[0, 1)"),
    (Spec(label_noise=(float("nan"),)), "label_noise", "[0, 1)"),
    (Spec(label_noise_kind="symetric"), "label_noise_kind", "'symmetric'"),
    (Spec(workload="synthetic-mlp", label_noise=(0.2,)), "label_noise", "no classes"),
    (Spec(weight_decay=(-1.0,)), "weight_decay", ">= 0"),
    (Spec(learning_rate=(0.0,)), "learning_rate", "> 0"),
    (Spec(seeds=0), "seeds", "at least 1"),
    (Spec(first_seed=-1), "first_seed", "at least 0"),
    (Spec(first_seed=2**32 - 3), "first_seed", "2**32"),
    (Spec(epochs=0), "epochs", "at least 1"),
    (Spec(batch_size=0), "batch_size", "at least 1"),
    (Spec(batch_size=1001), "batch_size", "at most 1000"),
    (Spec(momentum=1.0), "momentum", "[0, 1)"),
    (Spec(optimizer="adam", momentum=0.5), "momentum", "left out with --optimizer adam: only sgd and nesterov use it"),
    (Spec(schedule="cosin"), "schedule", "'cosine'"),
    (Spec(m=0), "m", "divisor of the batch size 100"),
    (Spec(m=30), "m", "divisor of the batch size 100"),
    (Spec(budget="gradient"), "budget", "'gradients'"),
    (Spec(precision="float16"), "precision", "'bfloat16'"),
    (Spec(preset="quik"), "preset", "'quick'"),
    (Spec(sparsity=()), "sparsity", "must not be empty"),
    (Spec(sparsity=(1.0,)), "sparsity", "[0, 1), such as 0.75"),
    (Spec(sparsity=(0.5, -0.1)), "sparsity", "[0, 1)"),
    (Spec(sparsity=(float("nan"),)), "sparsity", "[0, 1)"),
    (Spec(sparsity=(0.5, 0.5)), "sparsity", "must not repeat"),
    (Spec(prune="larges"), "prune", "'largest'"),
    (Spec(pruners=("magnitude",)), "pruners", "random or snip"),
    (Spec(pruners=()), "pruners", "must not be empty"),
    (Spec(output_scale=(1.0, 0.0)), "output_scale", "finite number > 0"),
    (Spec(output_scale=(float("inf"),)), "output_scale", "finite number > 0"),
    (Spec(rhos=(0.1, 1e39)), "rhos", "at most 3.4e+38"),
    (Spec(widths=(99999999999,)), "widths", "an array of 3.0e+22 numbers"),
    (Spec(workload="digits-resnet", output_scale=(10.0,)), "output_scale", "batch normalization"),
    (Spec(train_examples=0), "train_examples", "between 1 and 1000"),
    (Spec(train_examples=1001), "train_examples", "between 1 and 1000, which digits-mlp has"),
    (Spec(train_examples=50, batch_size=51), "batch_size", "at most 50"),
    (Spec(workload="digits-vit", widths=(8, 12)), "widths", "multiple of heads"),
]


@pytest.mark.parametrize(("spec", "argument", "remedy"), BAD, ids=lambda value: str(value)[:30])
def test_a_bad_spec_is_an_error_naming_argument_value_and_remedy(spec, argument, remedy):
    with pytest.raises(UsageError) as error:
        resolve(spec)
    assert error.value.argument == argument
    assert remedy in str(error.value)
    value = getattr(spec, argument)
    assert any(repr(item) in str(error.value) for item in (value if isinstance(value, tuple) and value else (value,)))


@pytest.mark.parametrize(
    ("execution", "argument"),
    [
        (Execution(networks_at_once=0), "networks_at_once"),
        (Execution(checkpoint_seconds=-1.0), "checkpoint_seconds"),
        (Execution(checkpoint_seconds=float("nan")), "checkpoint_seconds"),
    ],
)
def test_a_bad_execution_is_an_error_naming_the_argument(execution, argument):
    with pytest.raises(UsageError) as error:
        execution.check()
    assert error.value.argument == argument


def test_whole_numbers_of_numpy_are_those_of_python():
    assert type(Execution(networks_at_once=np.int64(2)).networks_at_once) is int


numbers = st.floats(0, 10, allow_nan=False)


def test_quick_sets_what_is_left_out_and_leaves_no_trace():
    quick = resolve(Spec(workload="digits-resnet", preset="quick"))
    spelled_out = Spec(workload="digits-resnet", widths=(2, 8), rhos=(0.1,), seeds=2, epochs=10)
    assert quick == resolve(spelled_out)
    assert not hasattr(quick, "preset")
    assert quick == resolve(quick)
    lazy = resolve(Spec(workload="digits-vgg11-lazy", preset="quick"))
    assert (lazy.output_scale, lazy.seeds, lazy.epochs, lazy.precision) == ((1.0, 100.0, 1e4), 2, 15, "float64")


def test_quick_may_train_on_fewer_examples():
    spec = resolve(Spec(workload="cifar10-vit", preset="quick"))
    assert (spec.train_examples, resolve(Spec(workload="cifar10-vit")).train_examples) == (5_000, 45_000)


@pytest.mark.parametrize(
    ("field", "value"), [("widths", (4,)), ("rhos", (0.3,)), ("seeds", 5), ("seeds", 1), ("epochs", 30)]
)
def test_a_flag_given_besides_a_preset_wins(field, value):
    """Also where it is what would be the default without the preset."""
    quick = resolve(Spec(workload="digits-resnet", preset="quick"))
    spec = resolve(Spec(workload="digits-resnet", preset="quick", **{field: value}))
    assert getattr(spec, field) == value != getattr(quick, field)
    assert dataclasses.replace(spec, **{field: getattr(quick, field)}) == quick


def test_a_preset_that_a_workload_has_not_is_refused():
    with pytest.raises(UsageError, match=r"preset = 'quick': must be left out: imagenet-resnet50 .* digits-mlp, "):
        resolve(Spec(workload="imagenet-resnet50", preset="quick"))


def test_scales_come_from_lazy_workloads_alone():
    plain = resolve(Spec())
    assert (plain.centered, plain.output_scale) == (False, (1.0,))
    assert resolve(Spec(output_scale=(1.0,))).centered
    assert resolve(Spec(workload="digits-vgg11-lazy")).output_scale == (0.1, 1.0, 10.0, 100.0, 1e4, 1e6)
    assert resolve(Spec(output_scale=(3.0,))).output_scale == (3.0,)


def test_the_largest_network_is_by_default_pruned_to_the_sizes_of_the_others():
    from widebasin.workloads import WORKLOADS

    widths = (16, 4, 8)
    spec = resolve(Spec(widths=widths, prune="largest"))
    sizes = [
        WORKLOADS["digits-mlp"].num_params(16, sparsity, "random" if sparsity else "none") for sparsity in spec.sparsity
    ]
    assert sizes == pytest.approx([4_074, 1_850, 882], abs=1)
    assert resolve(Spec(widths=widths, prune="largest", sparsity=(0.9,))).sparsity == (0.9,)
    assert resolve(Spec(widths=widths)).sparsity == (0.0,)
    assert resolve(Spec(widths=(16,), prune="largest")).sparsity == (0.0,)


@pytest.mark.slow
@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=4, unique=True),
    st.lists(numbers, min_size=1, max_size=4, unique=True),
    st.integers(1, 99),
    st.lists(st.floats(0, 0.99), min_size=1, max_size=3, unique=True),
    st.lists(st.floats(0, 0.99), min_size=1, max_size=3, unique=True),
    st.none() | st.lists(st.floats(1e-3, 1e7), min_size=1, max_size=3, unique=True).map(tuple),
    st.sampled_from(["float32", "bfloat16", "float64"]),
    st.integers(100, 1_000),
)
def test_toml_reads_back_what_was_written(
    tmp_path_factory, widths, rhos, seeds, label_noise, sparsity, output_scale, precision, train_examples
):
    spec = resolve(
        Spec(
            widths=tuple(widths),
            rhos=tuple(rhos),
            seeds=seeds,
            label_noise=tuple(label_noise),
            sparsity=tuple(sparsity),
            pruners=("snip", "random"),
            prune="largest",
            output_scale=output_scale,
            precision=precision,
            train_examples=train_examples,
        )
    )
    path = tmp_path_factory.mktemp("spec") / "spec.toml"
    path.write_text(spec_toml(spec))
    assert resolve(read_spec(path)) == parse_resolved(path.read_text(), ()) == spec


def test_toml_keeps_the_blanks_within_a_text(tmp_path):
    axis = Axis("file", "file", str, "a text", lambda value: True, default=("a",), traced=False)
    usual = workload_named("digits-mlp")
    workload = dataclasses.replace(usual, axes=(axis,), build=lambda width, key, file: usual.build(width, key))
    name, blanks = "blanks", "my  file,\u2028 [1]\n]"
    with patch.dict(WORKLOADS, {name: dataclasses.replace(workload, name=name)}):
        spec = resolve(spec_type((axis,))(workload=name, file=(blanks, "b")))
        assert parse_resolved(spec_toml(spec), (axis,)).values(axis) == (blanks, "b")


def test_a_bare_value_stands_for_a_list_of_one(tmp_path):
    (tmp_path / "s.toml").write_text('widths = 8\nrhos = 1\nmethods = "sam"\nseeds = 2\n')
    assert read_spec(tmp_path / "s.toml") == Spec(widths=(8,), rhos=(1.0,), methods=("sam",), seeds=2)


def test_a_toml_file_may_begin_with_a_byte_order_mark_and_have_lines_of_windows(tmp_path):
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbfwidths = 8\r\nseeds = 2\r\n")
    assert read_spec(tmp_path / "s.toml") == Spec(widths=(8,), seeds=2)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("seeds = 1" + 5_000 * "0", "not valid TOML"),
        ("seeds = 0x1" + 5_000 * "0", "not valid TOML: an integer of more than 64 bits"),
        ("widths = [[9223372036854775808]]", "an integer of more than 64 bits"),
        ("rhos = -9223372036854775809", "an integer of more than 64 bits"),
        ("widths = " + 9_000 * "[", "nested too deeply"),
        ("widths = 8 # " + 2**20 * "x", "at most 1,048,576 bytes"),
        ("a." * 30_000 + "a = 1", "a key of more than 32 parts"),
        ("widths = \udcff", "not valid TOML"),
        ("widths = 8\0", "not valid TOML"),
        ("label-noise = 0.1\nlabel_noise = 0.2", "is also given as label_noise"),
        ("width = [8]", "did you mean 'widths'"),
        ("widths = [8.5]", "widths"),
        ('widths = "8"', "widths"),
        ("seeds = [1, 2]", "not a list"),
        ("seeds = true", "seeds"),
        ("methods = [1]", "methods"),
        ("widths = [", "not valid TOML"),
        ("format = 99", "format"),
    ],
)
def test_a_bad_toml_file_is_an_error_that_says_what_is_wrong(tmp_path, text, named):
    (tmp_path / "s.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=named):
        read_spec(tmp_path / "s.toml")


def test_a_missing_toml_file_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_spec(tmp_path / "none.toml")


def test_differences_name_the_fields_that_differ():
    one = resolve(Spec())
    assert differences(one, one) == []
    found = differences(one, dataclasses.replace(one, seeds=6, epochs=61))
    assert [text.split(":")[0] for text in found] == ["seeds", "epochs"]


def test_the_nearest_name_is_suggested_only_when_near():
    assert "did you mean 'sam'" in str(nearest_name("methods", "sma", ["sgd", "sam"]))
    assert "did you mean" not in str(nearest_name("methods", "xyz", ["sgd", "sam"]))


@pytest.mark.parametrize(
    ("changes", "argument"),
    [({"parametrization": ("mup3",)}, "parametrization"), ({"epochs": 10**12}, "epochs")],
)
def test_the_argument_that_is_wrong_is_the_one_that_is_named(changes, argument):
    with pytest.raises(UsageError) as error:
        resolve(Spec(widths=(4,), **changes))
    assert error.value.argument == argument
