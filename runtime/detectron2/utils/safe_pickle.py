"""Reads pickles of plain data: containers and numpy arrays, and nothing that could run code.

A pickle is a program: it may call any importable function. Here every name that it asks for is
looked up in a closed table, and the two numpy types whose ``__setstate__`` trusts its argument
(a forged dtype reads foreign memory) get their state checked. What is left can build data only.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from math import prod
from typing import IO, Any, ClassVar

import numpy as np
from numpy._core.multiarray import scalar as _numpy_scalar

Globals = Mapping[tuple[str, str], Callable[..., Any]]

_DTYPE_KINDS = "biufcSUVO"


def _encode(text: str, encoding: str) -> bytes:
    """Stands for ``_codecs.encode``, by which protocol 2 writes the bytes of arrays."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}; only latin1 is allowed")
    return text.encode("latin1")


def _array_type(*args: object) -> None:
    """Stands for ``numpy.ndarray``, which pickles of arrays name but need not call."""
    raise pickle.UnpicklingError("the pickle calls numpy.ndarray, which is not plain data")


def _dtype(name: str, align: bool = False, copy: bool = True) -> np.dtype:
    """A dtype without fields; always a copy, because its byte order is set afterwards."""
    dtype = np.dtype(name, copy=True)
    if dtype.kind not in _DTYPE_KINDS or dtype.fields is not None or dtype.subdtype is not None:
        raise pickle.UnpicklingError(f"arrays of dtype {name!r} are not plain data")
    return dtype


def _empty_array(kind: object, shape: object, code: object) -> np.ndarray:
    """Stands for ``_reconstruct``: the array whose state follows."""
    return np.empty(0, np.int8)


def _scalar(dtype: np.dtype, data: bytes) -> Any:
    _refuse_objects(dtype)
    return _numpy_scalar(dtype, data)


def _array_from_buffer(
    data: bytes | bytearray, dtype: np.dtype, shape: tuple[int, ...], order: Any
) -> np.ndarray:
    """Stands for ``_frombuffer``, by which protocol 5 writes contiguous arrays."""
    _refuse_objects(dtype)
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _refuse_objects(dtype: np.dtype) -> None:
    if dtype.hasobject:
        raise pickle.UnpicklingError("bytes cannot be an array of objects")


def _allowed_globals() -> dict[tuple[str, str], Callable[..., Any]]:
    """The table of (module, name) -> callable, with the names of older numpy and Python."""
    table: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _encode,
        ("numpy", "ndarray"): _array_type,
        ("numpy", "dtype"): _dtype,
    }
    for module in ("builtins", "__builtin__"):
        for kind in (bytearray, bytes, complex, dict, frozenset, list, set, tuple):
            table[module, kind.__name__] = kind
    for package in ("numpy.core", "numpy._core"):
        table[f"{package}.multiarray", "_reconstruct"] = _empty_array
        table[f"{package}.multiarray", "scalar"] = _scalar
        table[f"{package}.numeric", "_frombuffer"] = _array_from_buffer
    return table


_ALLOWED = _allowed_globals()


def _set_dtype_state(dtype: Any, state: tuple[Any, ...]) -> None:
    """Takes the byte order from a pickled state, and nothing else."""
    order, subdtype, names, fields = state[1:5]
    if (subdtype, names, fields) != (None, None, None) or order not in ("<", ">", "|", "="):
        raise pickle.UnpicklingError(f"a dtype with the state {state!r} is not plain data")
    own = (None, None, None, dtype.itemsize, dtype.alignment, dtype.flags)
    dtype.__setstate__((3, order, *own))


def _set_array_state(array: np.ndarray, state: tuple[Any, ...]) -> None:
    """Fills an array from (version, shape, dtype, is_fortran, bytes or list of objects)."""
    shape, dtype, _, data = state[-4:]
    if not isinstance(dtype, np.dtype):
        raise pickle.UnpicklingError(f"an array of dtype {dtype!r} is damaged")
    # numpy compares the number of bytes with the shape, but not that of objects.
    if dtype.hasobject and not (isinstance(data, list) and len(data) == prod(shape)):
        raise pickle.UnpicklingError(f"an array of objects of shape {shape} is damaged")
    array.__setstate__(state)


class _PlainUnpickler(pickle._Unpickler):  # the one in Python: its BUILD can be replaced
    """Resolves names in ``_ALLOWED`` and ``extra`` alone, and checks every state."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes], encoding: str, extra: Globals) -> None:
        super().__init__(file, encoding=encoding)
        self._extra = extra

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        key = (module, name)
        found = _ALLOWED.get(key) or self._extra.get(key)
        if found is None:
            raise pickle.UnpicklingError(
                f"the pickle asks for {module}.{name}, which is not plain data (containers, "
                "numbers, strings, numpy arrays). It was not loaded; convert the file with the "
                "program that wrote it, if you trust it."
            )
        return found

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, np.dtype):
            _set_dtype_state(target, state)
        elif isinstance(target, np.ndarray):
            _set_array_state(target, state)
        elif not isinstance(target, OrderedDict):  # its attributes, as torch's, are dropped
            raise pickle.UnpicklingError(f"a {type(target).__name__} with a state is no plain data")

    dispatch[pickle.BUILD[0]] = load_build


def load_pickle(
    file: IO[bytes], *, encoding: str = "ASCII", extra_globals: Globals | None = None
) -> Any:
    """Reads one pickle of plain containers and numpy arrays, without running code from it.

    Args:
        file: a file opened in binary mode.
        encoding: how 8-bit strings of Python 2 are decoded; ``"latin1"`` for files of that time.
        extra_globals: further names, as (module, name), and the callables that stand for them.

    Raises:
        pickle.UnpicklingError: the file asks for another name, or is no complete pickle.
    """
    name = getattr(file, "name", "the file")
    try:
        return _PlainUnpickler(file, encoding, extra_globals or {}).load()
    except UnicodeDecodeError as error:
        raise pickle.UnpicklingError(
            f"{name}: a string is not {encoding} ({error}); for files of Python 2 set "
            "encoding='latin1'"
        ) from error
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"{name}: {error}") from error
    except (EOFError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise pickle.UnpicklingError(f"{name} is damaged or no pickle: {error!r}") from error
