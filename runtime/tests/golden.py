"""Reads the recorded facts of the real Detectron2 and compares results with them.

The rules of the comparison (see the README beside the recordings): a float array's error is
``max|a - b| / max|expected|`` with the limit ``rtol``, 1e-5 unless the case names another one;
integer and bool arrays are identical, except up to ``frac`` differing elements or ``int_atol``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import weight_rule as weight_rule_module

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"
COPIED = Path(__file__).resolve().parent / "golden"
DEFAULT_RTOL = 1e-5


def reference_json(name: str) -> Any:
    """The recorded JSON file ``name``, or a skip where the recordings are absent."""
    path = REFERENCE / name
    if not path.is_file():
        pytest.skip(
            f"the recorded facts are absent: {path.name} is looked for in ../shared/reference"
        )
    return json.loads(path.read_text())


def weight_rule() -> ModuleType:
    """The module that fills a model's weights from its parameter names (``fill``)."""
    return weight_rule_module


class Golden:
    """One recorded case: ``inputs``, ``outputs``, ``params`` and JSON facts by name."""

    def __init__(self, name: str) -> None:
        path = next(
            (
                d / f"{name}.npz"
                for d in (COPIED, REFERENCE / "golden")
                if (d / f"{name}.npz").is_file()
            ),
            None,
        )
        if path is None:
            pytest.skip(f"the recorded case {name}.npz is absent (../shared/reference/golden)")
        self.name = name
        with np.load(path) as arrays:
            self._arrays = {key: arrays[key] for key in arrays.files}

    def input(self, name: str) -> torch.Tensor:
        """Input ``name`` as a fresh tensor."""
        return torch.from_numpy(self._arrays[f"in.{name}"].copy())

    def input_array(self, name: str) -> np.ndarray:
        """Input ``name`` as a fresh array."""
        return self._arrays[f"in.{name}"].copy()

    def output(self, name: str) -> np.ndarray:
        """The recorded output ``name``."""
        return self._arrays[f"out.{name}"]

    def output_names(self) -> list[str]:
        """Names of all recorded outputs."""
        return [key[4:] for key in self._arrays if key.startswith("out.")]

    def json(self, name: str) -> Any:
        """The recorded JSON value ``name``."""
        return json.loads(str(self._arrays[f"json.{name}"]))

    @cached_property
    def params(self) -> dict[str, Any]:
        """Plain arguments of the recorded calls."""
        return json.loads(str(self._arrays["params"])) if "params" in self._arrays else {}

    @cached_property
    def _tolerances(self) -> dict[str, dict[str, float]]:
        return json.loads(str(self._arrays["tol"])) if "tol" in self._arrays else {}

    def tolerance(self, key: str) -> dict[str, float]:
        """The limits for ``out.x`` or ``json.x``; those of ``*`` where the key has none."""
        return self._tolerances.get(key, self._tolerances.get("*", {}))

    def check(self, name: str, got: Any) -> None:
        """Asserts that ``got`` equals the recorded output ``name`` within its tolerance."""
        want = self.output(name)
        have = got.detach().cpu().numpy() if isinstance(got, torch.Tensor) else np.asarray(got)
        assert have.shape == want.shape, f"{self.name}.{name}: {have.shape}, not {want.shape}"
        limits = self.tolerance(f"out.{name}")
        if want.dtype.kind == "f":
            _check_floats(f"{self.name}.{name}", have, want, limits.get("rtol", DEFAULT_RTOL))
            return
        assert have.dtype == want.dtype, f"{self.name}.{name}: {have.dtype}, not {want.dtype}"
        difference = np.abs(have.astype(np.int64) - want.astype(np.int64))
        if "int_atol" in limits:
            assert difference.max(initial=0) <= limits["int_atol"]
        else:
            wrong = float((difference != 0).mean()) if difference.size else 0.0
            assert wrong <= limits.get("frac", 0.0), f"{self.name}.{name}: {wrong:.5f} differ"

    def check_json(self, name: str, got: Any) -> None:
        """Asserts that ``got`` equals the recorded JSON ``name``: floats within the tolerance."""
        limits = self.tolerance(f"json.{name}")
        check_json(f"{self.name}.{name}", got, self.json(name), limits.get("rtol", DEFAULT_RTOL))


def _check_floats(label: str, have: np.ndarray, want: np.ndarray, rtol: float) -> None:
    assert have.dtype.kind == "f", f"{label}: {have.dtype} is not a float type"
    finite = np.isfinite(want)
    assert np.array_equal(finite, np.isfinite(have)), f"{label}: other non-finite entries"
    assert np.array_equal(want[~finite], have[~finite], equal_nan=True), label
    if not finite.any():
        return
    error = np.abs(have[finite] - want[finite]).max()
    scale = np.abs(want[finite]).max()
    assert error <= rtol * scale, f"{label}: error {error:.3g} at scale {scale:.3g}, rtol {rtol}"


def check_json(label: str, got: Any, want: Any, rtol: float = DEFAULT_RTOL) -> None:
    """Asserts equality of JSON values: floats relatively, all else exactly."""
    if isinstance(want, dict):
        assert isinstance(got, dict), f"{label}: {type(got).__name__} is not a dict"
        assert {str(k) for k in got} == set(want), f"{label}: keys {sorted(got)} != {sorted(want)}"
        for key, value in got.items():
            check_json(f"{label}.{key}", value, want[str(key)], rtol)
    elif isinstance(want, list):
        assert len(got) == len(want), f"{label}: {len(got)} entries, not {len(want)}"
        for index, (have, expected) in enumerate(zip(got, want, strict=True)):
            check_json(f"{label}[{index}]", have, expected, rtol)
    elif want in ("nan", "inf", "-inf") and isinstance(got, float):
        assert str(got) == want, f"{label}: {got} != {want}"
    elif isinstance(want, float):
        assert got == pytest.approx(want, rel=rtol, abs=1e-12), f"{label}: {got} != {want}"
    elif isinstance(want, int) and not isinstance(want, bool) and rtol > 1e-3:
        assert got == pytest.approx(want, rel=rtol), f"{label}: {got} != {want}"
    else:
        assert got == want, f"{label}: {got!r} != {want!r}"


def exception_name(call: Callable[[], object]) -> str:
    """``"ok"``, or the name of the type of the exception that ``call`` raises."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "ok"
