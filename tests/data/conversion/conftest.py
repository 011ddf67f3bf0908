"""Conversion by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from converted_sets import Convert
from tiny_runs import tool_main


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Folder of the converted set."""
    return tmp_path / "converted"


@pytest.fixture
def convert(output: Path) -> Convert:
    """Runs ``tools/convert.py`` into ``output``; returns the written JSON."""

    def run(tool: str, source: Path, *options: str | Path, status: int = 0) -> dict[str, Any]:
        arguments = [tool, str(source), "--output", str(output), *map(str, options)]
        assert tool_main("convert")(arguments) == status
        written = output / "train.json"
        return json.loads(written.read_text()) if written.is_file() else {}

    return run
