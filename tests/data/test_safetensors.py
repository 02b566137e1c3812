"""The safetensors format: arrays read back, and headers that lie."""

import json

import numpy as np
import pytest
from data.files import safetensors_bytes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from together import together

from widebasin.data import DataError
from widebasin.data.safetensors import TYPES, Tensor, list_tensors, read_tensor

DTYPES = {kind: dtype for kind, dtype in TYPES.items() if kind != "BF16"}
arrays = st.sampled_from(sorted(DTYPES.items())).flatmap(
    lambda one: st.tuples(st.just(one[0]), hnp.arrays(one[1], hnp.array_shapes(min_dims=0, min_side=0, max_side=3)))
)


@given(st.dictionaries(st.text(max_size=4).filter(lambda name: name != "__metadata__"), arrays, max_size=4))
def test_arrays_are_read_back(tmp_path_factory, some):
    path = tmp_path_factory.mktemp("tensors") / "t.safetensors"
    path.write_bytes(safetensors_bytes(some, metadata={"format": "np"}))
    found = list_tensors(path)
    assert [(one.name, one.kind) for one in found] == [(name, kind) for name, (kind, _) in some.items()]
    for one in found:
        array = read_tensor(path, one)
        assert array.dtype.isnative
        np.testing.assert_array_equal(array, some[one.name][1])


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    values = np.array([[1.0, -2.5], [0.0, np.inf]], np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    path = tmp_path / "t.safetensors"
    path.write_bytes(safetensors_bytes({"a": ("BF16", upper)}))
    (one,) = list_tensors(path)
    assert one == Tensor("a", "BF16", (2, 2), path.stat().st_size - 8, 8)
    found = read_tensor(path, one)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)


def file_of(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(shape=(2,), offsets=(0, 8), kind="F32"):
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(offsets)}


BAD = {
    b"": "no safetensors file, or a truncated one: it has 0 bytes",
    b"\2\0\0": "it has 3 bytes",
    file_of({}, length=1): "would begin with a header of 1",
    file_of({"a": entry()}, bytes(8), length=1_000): "would begin with a header of 1,000, of at most 100,000,000",
    file_of({}, length=2**64 - 1): "would begin with a header of 18,446,744,073,709,551,615",
    file_of(b"{no}"): "its header is no JSON",
    file_of(b'{"\xff": 1}'): "its header is no JSON",
    file_of(b"[" * 100_000): "its header is no JSON",
    file_of([1]): "its header names no arrays",
    file_of(b'{"a": 1, "a": 2}'): "a name occurs twice",
    file_of({"a": 1}): "the array 'a' is of type None; known are BOOL, U8",
    file_of({"a": entry(kind="F8")}, bytes(8)): "the array 'a' is of type 'F8'",
    file_of({"a": entry(kind=["F32"])}, bytes(8)): r"the array 'a' is of type \['F32'\]",
    file_of({"a": entry(shape=(-2,))}, bytes(8)): "'a' has no shape or no place that could be",
    file_of({"a": entry(shape=(2.0,))}, bytes(8)): "'a' has no shape or no place",
    file_of({"a": entry(shape=(True,), offsets=(0, 4))}, bytes(4)): "'a' has no shape or no place",
    file_of({"a": entry() | {"shape": 2}}, bytes(8)): "'a' has no shape or no place",
    file_of({"a": entry(offsets=(0, 8, 8))}, bytes(8)): "'a' has no shape or no place",
    file_of({"a": entry(offsets=(-8, 0))}, bytes(8)): "'a' has no shape or no place",
    file_of({"a": entry(offsets=(8, 0))}, bytes(8)): r"'a', F32 of shape \(2,\), takes 8 bytes, and its place has -8",
    file_of({"a": entry(shape=(3,))}, bytes(8)): "takes 12 bytes, and its place has 8; get the file again",
    file_of({"a": entry(shape=(2**40, 2**40))}, bytes(8)): "takes 4,835,703,278,458,516,698,824,704 bytes",
    file_of({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)): "the array 'b' overlaps the one before it",
    file_of({"a": entry(), "b": entry()}, bytes(8)): "the array 'b' overlaps the one before it",
    file_of({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)): "the array 'b' leaves a gap before it",
    file_of({"a": entry(offsets=(8, 16))}, bytes(16)): "the array 'a' leaves a gap before it",
    file_of({"a": entry()}, bytes(7)): "truncated or damaged: 76 bytes, where its arrays end at 77",
    file_of({"a": entry()}, bytes(9)): "truncated or damaged: 78 bytes, where its arrays end at 77",
}


@together("content", BAD, ids=list(BAD.values()))
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=BAD[content]) as error:
        list_tensors(path)
    assert "t.safetensors: " in str(error.value)


def test_a_header_that_is_huge_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("widebasin.data.safetensors.LARGEST_HEADER", 10)
    path = tmp_path / "t.safetensors"
    path.write_bytes(file_of({"a": entry()}, bytes(8)))
    with pytest.raises(DataError, match="would begin with a header of 61, of at most 10"):
        list_tensors(path)


def test_files_that_are_not_there_or_have_become_shorter(tmp_path):
    with pytest.raises(DataError, match=r"t\.safetensors: cannot be read"):
        list_tensors(tmp_path / "t.safetensors")
    with pytest.raises(DataError, match="no file but a folder"):
        list_tensors(tmp_path)
    path = tmp_path / "t.safetensors"
    path.write_bytes(file_of({"a": entry()}, bytes(8)))
    (one,) = list_tensors(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="truncated: 7 bytes of 'a', which takes 8"):
        read_tensor(path, one)
