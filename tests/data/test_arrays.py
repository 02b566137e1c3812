import re
import tracemalloc

import numpy as np
import pytest
from together import together

from widebasin.data import DataError, Normalization, arrays

IMAGES = np.arange(6 * 4 * 5 * 3, dtype=np.uint8).reshape(6, 4, 5, 3)
FLOATS = np.linspace(-1, 1, 12).reshape(6, 2)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def write(tmp_path):
    def write(**given):
        np.savez(tmp_path / "mine.npz", **given)
        return tmp_path / "mine.npz"

    return write


def test_images_to_classify_with_a_test_set(write):
    path = write(
        inputs=IMAGES[:4], targets=LABELS[:4], test_inputs=IMAGES[4:], test_targets=LABELS[4:].astype(np.uint8)
    )
    data = arrays(path)
    np.testing.assert_array_equal(data.inputs, IMAGES)
    np.testing.assert_array_equal(data.targets, LABELS)
    assert (data.inputs.dtype, data.targets.dtype) == (np.uint8, np.int32)
    assert (data.name, data.num_classes, data.fixed_test, data.normalization) == ("mine", 3, 2, Normalization())
    assert arrays(str(path)).name == "mine"


def test_grey_images_have_one_channel(write):
    np.testing.assert_array_equal(arrays(write(inputs=IMAGES[..., 0], targets=LABELS)).inputs, IMAGES[..., :1])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_floats_are_seen_as_they_are(write, dtype):
    data = arrays(write(inputs=FLOATS.astype(dtype), targets=LABELS))
    np.testing.assert_array_equal(data.inputs, FLOATS.astype(dtype).astype(np.float32))
    assert (data.inputs.dtype, data.normalization, data.fixed_test) == (np.float32, None, 0)


def test_float_targets_are_regressed_on_as_columns(write):
    data = arrays(write(inputs=FLOATS, targets=FLOATS[:, 0], test_inputs=FLOATS[:2], test_targets=FLOATS[:2, 1]))
    np.testing.assert_array_equal(data.targets, np.append(FLOATS[:, 0], FLOATS[:2, 1])[:, None].astype(np.float32))
    assert (data.num_classes, data.fixed_test, data.targets.dtype) == (None, 2, np.float32)
    assert arrays(write(inputs=FLOATS, targets=FLOATS)).targets.shape == (6, 2)


def test_classes_that_do_not_occur_are_given_by_their_number(write):
    assert arrays(write(inputs=FLOATS, targets=LABELS * 2, num_classes=7)).num_classes == 7


@together(
    ("targets", "test_targets", "more", "classes", "said"),
    [
        (LABELS, [4], {"num_classes": 5}, 3, "3, 4"),
        (LABELS // 2 * 2, [1], {}, None, "1"),  # the last class is trained on
        (np.array(["ant", "bee"] * 3), ["cat"], {}, 2, "'cat'"),
        (LABELS, LABELS[:1], {}, None, None),
    ],
    ids=["last", "between", "text", "all"],
)
def test_a_class_that_occurs_in_the_test_set_only_is_said_and_left_out_of_label_noise(
    write, caplog, targets, test_targets, more, classes, said
):
    caplog.clear()
    data = arrays(
        write(inputs=FLOATS, targets=targets, test_inputs=FLOATS[:1], test_targets=np.array(test_targets), **more)
    )
    assert data.training_classes == classes
    assert data.num_classes == more.get("num_classes", 3)
    found = [one.getMessage() for one in caplog.records if "without a training example" in one.getMessage()]
    assert [one.rpartition(": ")[2] for one in found] == ([] if said is None else [said])
    assert arrays(write(inputs=FLOATS, targets=LABELS, num_classes=5)).training_classes is None


@together(
    "shape",
    [(6, 8, 8, 3), (6, 3, 8, 3), (6, 2, 8, 8), (6, 3, 3, 8), (6, 1, 1, 8), (6, 1, 8), (6, 1, 128, 4), (6, 3, 20, 2)],
)
def test_channels_come_last_also_where_there_are_many(write, shape):
    assert arrays(write(inputs=np.ones(shape), targets=LABELS)).inputs.shape == shape


WRONG = FLOATS.copy()
WRONG[3, 1] = np.nan


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"inputs": FLOATS}, "targets missing; found inputs"),
        ({}, "inputs and targets missing; found nothing"),
        ({"inputs": FLOATS, "targets": LABELS, "test_inputs": FLOATS}, "test_targets missing"),
        ({"inputs": FLOATS, "targets": LABELS, "test_targets": LABELS}, "test_inputs missing"),
        (
            {"inputs": FLOATS, "targets": LABELS, "test_input": FLOATS},
            "unknown array test_input; arrays are named inputs",
        ),
        ({"inputs": FLOATS, "targets": LABELS[:5]}, "inputs has 6 examples, but targets has 5"),
        (
            {"inputs": FLOATS, "targets": LABELS, "test_inputs": FLOATS[:2], "test_targets": LABELS},
            "test_inputs has 2 examples, but test_targets has 6",
        ),
        (
            {"inputs": FLOATS, "targets": LABELS, "test_inputs": FLOATS[:, :1], "test_targets": LABELS},
            r"float32 of shape \(2,\), but test_inputs has float32 of shape \(1,\)",
        ),
        (
            {"inputs": FLOATS, "targets": LABELS, "test_inputs": FLOATS, "test_targets": FLOATS},
            "examples of targets are int32",
        ),
        ({"inputs": WRONG, "targets": LABELS}, r"inputs of example 3 \(and 0 others\) have NaN"),
        ({"inputs": FLOATS, "targets": WRONG}, "targets of example 3"),
        ({"inputs": FLOATS * 1e300, "targets": LABELS}, "infinite in float32"),
        (
            {"inputs": FLOATS + 1.7e9, "targets": LABELS},
            r"inputs from 1699999999 to .* lose their differences in float32; subtract the mean and divide by",
        ),
        ({"inputs": FLOATS, "targets": FLOATS * 1e-300}, "targets from .*e-30. to .* lose their differences"),
        (
            {"inputs": FLOATS, "targets": LABELS + 1},
            "used as classes, but these are 3 numbers from 1 to 3, and 0 to k - 1 are needed",
        ),
        ({"inputs": FLOATS, "targets": LABELS * 2}, "3 numbers from 0 to 4, and 0 to k - 1"),
        ({"inputs": FLOATS, "targets": LABELS - 1}, "3 numbers from -1 to 1"),
        ({"inputs": FLOATS, "targets": LABELS, "num_classes": 2}, r"or num_classes > 2"),
        ({"inputs": FLOATS, "targets": LABELS, "num_classes": 2.5}, "num_classes must be one positive integer"),
        ({"inputs": FLOATS, "targets": LABELS, "num_classes": [3]}, "num_classes must be one positive integer"),
        ({"inputs": FLOATS, "targets": FLOATS, "num_classes": 3}, "num_classes is given, but targets are floats"),
        ({"inputs": FLOATS, "targets": LABELS + 2**40}, "is too large"),
        ({"inputs": FLOATS, "targets": LABELS[:, None]}, r"targets has shape \(6, 1\); labels need one axis"),
        ({"inputs": FLOATS, "targets": LABELS > 0}, "targets are bool; integer labels or floats are needed"),
        ({"inputs": FLOATS, "targets": 1.0}, "targets is one number"),
        ({"inputs": FLOATS[:, 0], "targets": LABELS}, r"inputs has shape \(6,\)"),
        ({"inputs": FLOATS[:0], "targets": LABELS[:0]}, r"inputs has shape \(0, 2\)"),
        ({"inputs": IMAGES.astype(int), "targets": LABELS}, "inputs are int64; images as uint8 or floats are needed"),
        ({"inputs": np.moveaxis(IMAGES, -1, 1), "targets": LABELS}, r"use numpy\.moveaxis\(inputs, 1, -1\)"),
        (
            {"inputs": np.moveaxis(IMAGES, -1, 1) / 255, "targets": LABELS},
            r"inputs has shape \(6, 3, 4, 5\): channels come last; use numpy\.moveaxis\(inputs, 1, -1\)",
        ),
        ({"inputs": np.ones((6, 1, 8, 8)), "targets": LABELS}, r"\(6, 1, 8, 8\): channels come last"),
        ({"inputs": FLOATS, "targets": LABELS + 1}, r"say FILE\.npz:regression, or arrays\(path, task='regression'\)"),
        ({"inputs": FLOATS, "targets": LABELS - [2**32, 0, 0, 0, 0, 0]}, "label -4294967296 in targets is too large"),
        ({"inputs": FLOATS, "targets": LABELS, "num_classes": 2**40}, "one positive integer, of at most 16,777,216"),
        ({"inputs": FLOATS, "targets": FLOATS[:, :0]}, r"targets has shape \(6, 0\)"),
        ({"inputs": FLOATS, "targets": np.array([["a"]] * 6)}, "targets are <U1; integer labels or floats"),
        ({"inputs": FLOATS, "targets": np.array([None] * 6)}, "targets contains Python objects"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused_by_name(write, given, reason):
    with pytest.raises(DataError, match=reason) as error:
        arrays(write(**given))
    assert "mine.npz" in str(error.value)


WHOLE = LABELS.astype(float)
TEXTS = np.array(["cat", "ant", "bee"] * 2)


@together(
    ("targets", "task", "expected", "said"),
    [
        (LABELS, None, LABELS, "integers: used as 3 classes with fewer than 10 examples each; if they are numbers"),
        (LABELS, "classification", LABELS, None),
        (LABELS, "regression", WHOLE[:, None], None),
        (LABELS % 2, None, LABELS % 2, None),
        (LABELS + 70, "regression", WHOLE[:, None] + 70, None),
        (
            WHOLE,
            None,
            WHOLE[:, None],
            "floats, all whole numbers up to 2: used for regression; .* say FILE.npz:classification",
        ),
        (WHOLE, "classification", LABELS, None),
        (WHOLE / 2, None, WHOLE[:, None] / 2, None),
        (TEXTS, None, [2, 0, 1, 2, 0, 1], "texts, used as 3 classes in this order: 'ant', 'bee', 'cat'"),
        (TEXTS, "classification", [2, 0, 1, 2, 0, 1], "texts"),
    ],
    ids=range(10),
)
def test_what_targets_are_taken_for_is_said_where_it_may_not_be_meant(write, caplog, targets, task, expected, said):
    caplog.clear()
    data = arrays(write(inputs=FLOATS, targets=targets, test_inputs=FLOATS, test_targets=targets), task)
    np.testing.assert_array_equal(data.targets, np.concatenate([expected, expected]))
    assert data.targets.dtype == (np.float32 if data.num_classes is None else np.int32)
    assert (data.num_classes is None) == (np.ndim(expected) == 2)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (said is not None)
    assert all(re.search(f"mine.npz: targets are {said}", message) for message in messages)


@together(
    ("targets", "task", "reason"),
    [
        (WHOLE / 2, "classification", "targets are not labels: whole numbers"),
        (FLOATS, "classification", "targets are not labels"),
        (WHOLE * 1e9, "classification", "targets are not labels"),
        (WHOLE + 1, "classification", "numbers from 1 to 3"),
        (TEXTS, "regression", "targets are <U3; integer labels or floats are needed"),
    ],
)
def test_a_task_that_the_targets_do_not_suit_is_refused(write, targets, task, reason):
    with pytest.raises(DataError, match=reason):
        arrays(write(inputs=FLOATS, targets=targets), task)


def test_an_unknown_task_is_refused(write):
    with pytest.raises(ValueError, match="task must be one of classification, regression, got 'ranking'"):
        arrays(write(inputs=FLOATS, targets=LABELS), "ranking")


def test_reading_takes_a_stated_multiple_of_memory(write):
    path = write(inputs=np.zeros((1000, 500)), targets=np.zeros(1000, int))
    tracemalloc.start()
    arrays(path, "classification")
    assert tracemalloc.get_traced_memory()[1] < 6 * 4_008_000
    tracemalloc.stop()


def test_names_that_steer_a_terminal_are_shown_as_escapes(tmp_path, caplog):
    path = tmp_path / "a\x1b[31m\udcff.npz"
    np.savez(path, inputs=FLOATS, targets=np.array(["\x1b[31m", "a", "b"] * 2))
    arrays(path)
    (record,) = caplog.records
    path.write_bytes(b"")
    with pytest.raises(DataError) as error:
        arrays(path)
    for text in (record.getMessage(), str(error.value)):
        assert text.isascii()
        assert text.isprintable()
        assert r"a\x1b[31m\udcff.npz" in text
