"""Tests of reading pickles without running code from them."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy._core import multiarray, numeric

from detectron2.utils.safe_pickle import load_pickle

PLAIN = {
    "text": "weight",
    "numbers": [1, 2.5, True, None, 3 + 4j],
    "nested": OrderedDict(a=(1, {2}), b=frozenset({3})),
    "raw": b"\x00\xff",
    "mutable": bytearray(b"ab"),
}


class Calls:
    """Pickles as the call ``function(*args)``."""

    def __init__(self, function: Callable[..., Any], *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def load(data: bytes, **options: Any) -> Any:
    return load_pickle(io.BytesIO(data), **options)


@pytest.mark.parametrize("protocol", range(6))
def test_reads_plain_containers_of_each_protocol(protocol: int) -> None:
    loaded = load(pickle.dumps(PLAIN, protocol=protocol))
    assert loaded == PLAIN
    assert isinstance(loaded["nested"], OrderedDict)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(["ab", "c"]),
        np.zeros((0, 4), dtype=bool),
        np.array([[1, None]], dtype=object),
        np.float32(2.5),
        np.int64(7),
        np.bool_(True),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.dtype}",
)
def test_reads_numpy_values_of_each_protocol(value: Any, protocol: int) -> None:
    loaded = load(pickle.dumps(value, protocol=protocol))
    assert type(loaded) is type(value)
    assert loaded.dtype == value.dtype
    assert np.array_equal(loaded, value)


def test_reads_arrays_that_name_the_module_of_older_numpy() -> None:
    array = np.arange(3.0)
    data = pickle.dumps(array, protocol=2)
    assert b"numpy._core.multiarray" in data
    assert np.array_equal(load(data.replace(b"numpy._core.", b"numpy.core.")), array)


def test_python_2_strings_need_latin1() -> None:
    data = b"U\x02\xe9a."  # SHORT_BINSTRING, as Python 2 writes str
    assert load(data, encoding="latin1") == "\xe9a"
    with pytest.raises(pickle.UnpicklingError, match="encoding='latin1'"):
        load(data)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "args", "name"),
    [
        (os.system, ("touch owned",), r"(posix|nt)\.system"),
        (subprocess.check_call, (["touch", "owned"],), "check_call"),
        (eval, ("open('owned', 'w')",), "eval"),
        (exec, ("open('owned', 'w')",), "exec"),
        (getattr, (os, "system"), "getattr"),
        (__import__, ("os",), "__import__"),
        (np.load, ("owned",), r"numpy\.load"),
        (torch.load, ("owned",), r"torch\.serialization\.load"),
    ],
)
def test_refuses_calls_and_names_them(
    function: Callable[..., Any],
    args: tuple[object, ...],
    name: str,
    protocol: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    args = tuple("os" if arg is os else arg for arg in args)  # a module cannot be pickled
    data = pickle.dumps({"model": [Calls(function, *args)]}, protocol=protocol)
    with pytest.raises(pickle.UnpicklingError, match=name):
        load(data)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'touch owned'\ntR.",  # GLOBAL + REDUCE
        b"(S'touch owned'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch owned'\no.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0btouch owned\x85R.",  # STACK_GLOBAL
        b"\x80\x02cnumpy.core.multiarray\n__dict__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",  # dotted attribute path
        b"\x80\x04\x8c\x0bcollections\x8c\x04_sys\x93.",
    ],
)
def test_refuses_each_way_to_ask_for_a_name(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="not plain data"):
        load(data)
    assert not list(tmp_path.iterdir())


def test_refuses_tensors_and_classes() -> None:
    for value in (torch.ones(2), Path("a")):
        with pytest.raises(pickle.UnpicklingError, match="not plain data"):
            load(pickle.dumps(value))


def test_bytes_are_decoded_from_latin1_alone() -> None:
    data = b"\x80\x02c_codecs\nencode\nX\x02\x00\x00\x00abX\x04\x00\x00\x00zlib\x86R."
    with pytest.raises(pickle.UnpicklingError, match="'zlib'"):
        load(data)


def test_memory_cannot_be_read_as_objects() -> None:
    # ndarray((1,), 'O', 8 bytes) would take the bytes for the address of an object.
    data = b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93K\x01\x85\x8c\x01OC\x08AAAAAAAA\x87R."
    with pytest.raises(pickle.UnpicklingError, match=r"calls numpy\.ndarray"):
        load(data)


class Forged:
    """Pickles as ``function(*args)`` with the state ``state``."""

    def __init__(self, function: Any, args: tuple[object, ...], state: object) -> None:
        self.parts = (function, args, state)

    def __reduce__(self) -> tuple[object, ...]:
        return self.parts


RECONSTRUCT = (multiarray._reconstruct, (np.ndarray, (0,), b"b"))


@pytest.mark.parametrize(
    "state",
    [
        (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0),  # objects, but flags 0
        (3, "|", None, ("a",), {"a": (np.dtype("f8"), 4000)}, 8, 1, 0),  # beyond the item
        (3, "|", (np.dtype("f8"), (9,)), None, None, 8, 1, 0),
    ],
)
def test_forged_dtypes_are_refused(state: tuple[object, ...]) -> None:
    dtype = Forged(np.dtype, ("V8", False, True), state)
    with pytest.raises(pickle.UnpicklingError, match="not plain data"):
        load(pickle.dumps(Forged(*RECONSTRUCT, (1, (1,), dtype, False, b"A" * 8))))


def test_a_forged_item_size_has_no_effect() -> None:
    dtype = Forged(np.dtype, ("U2", False, True), (3, "<", None, None, None, -8, -1, 0))
    assert load(pickle.dumps(dtype)).itemsize == 8


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("O", (1,), b"A" * 8),
        ("O", (1000,), [None]),
        ("f8", (1000,), b"A" * 8),
        ("i4,O", (1,), b"A" * 12),
        ("(2,)O", (1,), b"A" * 16),
        (None, (1,), b"A" * 8),
    ],
)
def test_forged_arrays_are_refused(dtype: str | None, shape: tuple[int], data: object) -> None:
    made = dtype and Forged(np.dtype, (dtype, False, True), None)
    with pytest.raises(pickle.UnpicklingError):
        load(pickle.dumps(Forged(*RECONSTRUCT, (1, shape, made, False, data))))


@pytest.mark.parametrize("name", ["_frombuffer", "scalar"])
def test_bytes_cannot_become_objects(name: str) -> None:
    objects = np.dtype("O")
    frombuffer = vars(numeric)["_frombuffer"]
    if name == "scalar":
        made = Calls(multiarray.scalar, objects, b"A" * 8)
    else:
        made = Calls(frombuffer, b"A" * 8, objects, (1,), "C")
    with pytest.raises(pickle.UnpicklingError, match="objects"):
        load(pickle.dumps(made))


def test_big_endian_arrays_keep_their_values() -> None:
    array = np.arange(3, dtype=">f4")
    for protocol in (2, 5):
        assert load(pickle.dumps(array, protocol=protocol)).tolist() == [0, 1, 2]


def test_attributes_of_an_ordered_dict_are_dropped() -> None:
    weights = OrderedDict(a=1)
    weights._metadata = {"version": 1}  # type: ignore[attr-defined]
    loaded = load(pickle.dumps(weights))
    assert loaded == weights
    assert not hasattr(loaded, "_metadata")


def test_the_table_cannot_be_changed_by_a_file() -> None:
    # BUILD with (None, {attribute: value}) sets an attribute of what is on the stack.
    for name in (b"c_codecs\nencode\n", b"cnumpy\nndarray\n", b"ccollections\nOrderedDict\n"):
        with pytest.raises(pickle.UnpicklingError, match="with a state"):
            load(b"\x80\x02" + name + b"N}X\x01\x00\x00\x00aK\x01s\x86b.")


def test_an_added_name_is_allowed_for_that_call_alone() -> None:
    data = pickle.dumps(Calls(os.getcwdb))
    module = os.getcwdb.__module__
    assert load(data, extra_globals={(module, "getcwdb"): lambda: b"here"}) == b"here"
    with pytest.raises(pickle.UnpicklingError, match="getcwdb"):
        load(data)


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps(PLAIN)[:-20], b"\x80\x63."])
def test_damaged_files_are_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(pickle.UnpicklingError, match=r"weights\.pkl"):
        load_pickle(file)
