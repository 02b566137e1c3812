"""No pickle runs anything."""

import contextlib
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widebasin.data import DataError
from widebasin.data.unpickling import unpickle_batch

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 6)


class Calls:
    """Pickled as a call of a function with arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class HasState:
    """Pickled as a call whose result is given a state."""

    def __init__(self, function, arguments, state):
        self.call = function, arguments, state

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("array", [IMAGES, np.asfortranarray(IMAGES), IMAGES[:, 1:3]])
def test_arrays_of_bytes_lists_and_text_are_read_in_every_protocol(protocol, array):
    batch = {"data": array, "labels": [1, 2, 70_000], b"name": b"bytes\xff", "text": "text", "many": [b"a", "b", None]}
    found = unpickle_batch(pickle.dumps(batch, protocol), "batch")
    np.testing.assert_array_equal(found["data"], array)
    assert (found["labels"], found["name"], found["text"]) == ([1, 2, 70_000], b"bytes\xff", "text")


def python_2_batch():
    """Byte for byte what Python 2 and NumPy 1 write with protocol 2, as the authors of CIFAR did."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01K\x04K\x06\x86" + dtype + b"\x89" + b"T" + struct.pack("<i", 24) + IMAGES.tobytes() + b"tb"
    return b"\x80\x02}(" + text(b"data") + array + text(b"labels") + b"](K\x01K\x02e" + b"u."


def test_what_python_2_wrote_is_read():
    found = unpickle_batch(python_2_batch(), "batch")
    np.testing.assert_array_equal(found["data"], IMAGES)
    assert found["labels"] == [1, 2]
    np.testing.assert_array_equal(pickle.loads(python_2_batch(), encoding="bytes")[b"data"], IMAGES)


def attacks(path):
    """Objects that would make a file when unpickled."""
    import builtins
    import os
    import subprocess

    command = f"touch {path}"
    code = f"open({str(path)!r}, 'w').close()"
    yield "os.system", Calls(os.system, command)
    yield "builtins.eval", Calls(eval, code)
    yield "builtins.exec", Calls(exec, code)
    yield "open", Calls(open, str(path), "w")
    yield "subprocess", Calls(subprocess.check_call, ["touch", str(path)])
    yield "getattr chain", Calls(getattr, Calls(__import__, "os"), "system")
    yield "call of a getattr chain", Calls(map, Calls(getattr, builtins, "exec"), [code])
    yield "numpy", Calls(np.load, command)
    yield "state of an array", HasState(np.ndarray, ((1,),), Calls(os.system, command))
    yield "in a list", [Calls(os.system, command)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_that_a_pickle_asks_for_is_run(tmp_path, protocol):
    mark = tmp_path / "mark"
    ran = 0
    for name, attack in attacks(mark):
        try:
            content = pickle.dumps({"data": IMAGES, "labels": attack}, protocol)
        except (pickle.PicklingError, TypeError):
            continue  # A module cannot be pickled: this attack needs its own bytes, see below.
        with pytest.raises(DataError, match="which no array needs") as error:
            unpickle_batch(content, "batch")
        assert "batch" in str(error.value), name
        assert not mark.exists(), name
        ran += 1
    assert ran >= 8


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'touch {mark}'\ntR.",
        b"(S'touch {mark}'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch {mark}'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c{length}touch {mark}\x85R.",
        b"\x80\x02c_codecs\nencode.__globals__\n.",
        b"\x80\x04\x8c\x07_codecs\x8c\x10encode.__class__\x93.",
        b"\x80\x02cnumpy\ndtype.__new__\n.",
        b"\x80\x02cbuiltins\ngetattr\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"canother.module\ndtype\n(tR.",
        b"P1\n.",
        b"\x80\x02\x82\x01.",
    ],
)
def test_opcodes_by_hand_run_nothing_either(tmp_path, content):
    mark = tmp_path / "mark"
    command = f"touch {mark}".encode()
    content = content.replace(b"touch {mark}", command).replace(b"{length}", bytes([len(command)]))
    with pytest.raises(DataError, match="no pickle of plain arrays"):
        unpickle_batch(content, "batch")
    assert not mark.exists()


@pytest.mark.parametrize(
    "build",
    [
        b"}(S'__code__'\nI1\nutb.",
        b"(N}(S'name'\nS'other'\nu\x86b.",
    ],
)
def test_a_state_given_to_a_name_changes_nothing_for_later_pickles(build):
    before = pickle.dumps({"data": IMAGES}, 2)
    with pytest.raises(DataError):
        unpickle_batch(b"cnumpy\nndarray\n" + build, "batch")
    np.testing.assert_array_equal(unpickle_batch(before, "batch")["data"], IMAGES)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.arange(3), "type is 'i8'"),
        (np.array(["a", None], object), "type is 'O8'"),
        (np.array([(1, 2)], dtype=[("a", "u1"), ("b", "u1")]), "type is 'V2'"),
    ],
)
def test_arrays_of_anything_else_are_refused(value, reason):
    with pytest.raises(DataError, match=reason):
        unpickle_batch(pickle.dumps({"data": value}, 2), "batch")


@pytest.mark.parametrize(
    "replaced", [(b"K\x04K\x06", b"K\x04K\x07"), (b"K\x04K\x06", b"K\x04]"), (b"K\x04K\x06\x86", b"K\x04")]
)
def test_an_array_whose_bytes_and_shape_disagree_is_refused(replaced):
    with pytest.raises(DataError, match="no array of bytes"):
        unpickle_batch(python_2_batch().replace(*replaced), "batch")


def test_what_is_no_dictionary_is_refused():
    with pytest.raises(DataError, match="holds a list, not a dictionary"):
        unpickle_batch(pickle.dumps([1, 2]), "batch")


@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content):
    read = None
    with contextlib.suppress(DataError):
        read = unpickle_batch(content, "batch")
    assert read is None or isinstance(read, dict)


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255), protocol=st.sampled_from(PROTOCOLS))
def test_a_pickle_with_one_wrong_byte_is_read_or_refused(position, byte, protocol):
    content = bytearray(pickle.dumps({"data": IMAGES, "labels": [1, 2]}, protocol))
    content[position % len(content)] = byte
    read = None
    with contextlib.suppress(DataError):
        read = unpickle_batch(bytes(content), "batch")
    assert read is None or isinstance(read, dict)
