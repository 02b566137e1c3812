import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin.sweep import Execution, Spec, UsageError, nearest_name, read_spec, resolve, spec_toml
from widebasin.sweep.spec import differences


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
    (Spec(schedule="cosin"), "schedule", "'cosine'"),
    (Spec(m=0), "m", "divisor of the batch size 100"),
    (Spec(m=30), "m", "divisor of the batch size 100"),
    (Spec(budget="gradient"), "budget", "'gradients'"),
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
        (Execution(replicates_at_once=0), "replicates_at_once"),
        (Execution(checkpoint_seconds=-1.0), "checkpoint_seconds"),
        (Execution(checkpoint_seconds=float("nan")), "checkpoint_seconds"),
    ],
)
def test_a_bad_execution_is_an_error_naming_the_argument(execution, argument):
    with pytest.raises(UsageError) as error:
        execution.check()
    assert error.value.argument == argument


numbers = st.floats(0, 10, allow_nan=False)


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=4, unique=True),
    st.lists(numbers, min_size=1, max_size=4, unique=True),
    st.integers(1, 99),
    st.lists(st.floats(0, 0.99), min_size=1, max_size=3, unique=True),
)
def test_toml_reads_back_what_was_written(tmp_path_factory, widths, rhos, seeds, label_noise):
    spec = resolve(Spec(widths=tuple(widths), rhos=tuple(rhos), seeds=seeds, label_noise=tuple(label_noise)))
    path = tmp_path_factory.mktemp("spec") / "spec.toml"
    path.write_text(spec_toml(spec))
    assert read_spec(path) == spec


def test_a_bare_value_stands_for_a_list_of_one(tmp_path):
    (tmp_path / "s.toml").write_text('widths = 8\nrhos = 1\nmethods = "sam"\nseeds = 2\n')
    assert read_spec(tmp_path / "s.toml") == Spec(widths=(8,), rhos=(1.0,), methods=("sam",), seeds=2)


@pytest.mark.parametrize(
    ("text", "named"),
    [
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
    (tmp_path / "s.toml").write_text(text)
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
