"""The environment report, with and without a GPU and its tools."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import detectron2
from detectron2.utils import collect_env


def test_the_report_names_what_a_bug_report_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_ENV_MODULE", "some_site")
    rows = dict(
        line.split(maxsplit=1)
        for line in collect_env.collect_env_info().splitlines()
        if " " in line
    )
    assert rows["Python"].startswith(sys.version.split()[0])
    assert rows["detectron2"].startswith(detectron2.__version__)
    assert rows["PyTorch"]
    assert rows["DETECTRON2_ENV_MODULE"] == "some_site"
    assert "fvcore" in rows


def test_devices_are_grouped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["A", "B", "A"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: names[index])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (8, 0))
    monkeypatch.setenv("PATH", "")  # no nvidia-smi
    rows = dict(collect_env._devices())
    assert rows["GPU 0,2"] == "A (arch=8.0)"
    assert rows["GPU 1"] == "B (arch=8.0)"
    assert rows["Driver version"] == "unknown"


def test_architectures_need_cuobjdump(tmp_path: Path) -> None:
    assert "cannot find cuobjdump" in collect_env.detect_compute_compatibility(None, "x.so")
    tool = tmp_path / "bin" / "cuobjdump"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho ELF file 1: x.sm_90.cubin\necho ELF file 2: y.sm_80.cubin\n")
    tool.chmod(0o755)
    assert collect_env.detect_compute_compatibility(str(tmp_path), "x.so") == "8.0, 9.0"


def test_nccl_is_not_tested_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    collect_env.test_nccl_ops()
    assert capsys.readouterr().out == ""


def test_main_writes_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    collect_env.main()
    assert "sys.platform" in capsys.readouterr().out
