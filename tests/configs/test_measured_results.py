"""docs/results.md beside the configs: its trainings are those that the configs describe."""

from __future__ import annotations

import re

import pytest
from tiny_runs import REPOSITORY

from detectron2.config import CfgNode
from seg_projects.engine import SegTrainer, load_config

OPTIONS = r"(?:[A-Z][A-Z0-9_.]+ [^\s`]+ ?)+"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _rows() -> list[dict[str, str]]:
    """Each row of a table that begins with a config, by the names of its columns."""
    rows = []
    columns: list[str] = []
    for line in (REPOSITORY / "docs/results.md").read_text().splitlines():
        if line.startswith("| config |"):
            columns = _cells(line)
        elif line.startswith("| `configs/"):
            rows.append(dict(zip(columns, _cells(line), strict=True)))
    return rows


def _config(row: dict[str, str]) -> CfgNode:
    path, _, options = row["config"].partition(" (")
    found = re.findall(OPTIONS, options)
    assert bool(options) == bool(found), f"no options are read in {row['config']!r}"
    return load_config(REPOSITORY / path.strip("`"), " ".join(found).split())


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row["config"].split("`")[1])
def test_a_row_says_what_its_config_does(row: dict[str, str]) -> None:
    cfg = _config(row)
    assert cfg.SEED == 1
    stated = re.fullmatch(r"(\d+)(?: of (\d+)(?: crops (\d+)x(\d+)|.*))?", row["iterations"])
    assert stated is not None, row["iterations"]
    iterations, batch, height, width = stated.groups()
    assert int(iterations) == cfg.SOLVER.MAX_ITER
    assert batch is None or int(batch) == cfg.SOLVER.IMS_PER_BATCH
    if height is not None:
        assert [int(height), int(width)] == list(cfg.INPUT.CROP.SIZE)


@pytest.mark.parametrize(
    "row", [r for r in _rows() if "parameters" in r], ids=lambda row: row["config"].split("`")[1]
)
def test_a_model_has_as_many_parameters_as_its_row_says(row: dict[str, str]) -> None:
    cfg = _config(row)
    cfg.MODEL.DEVICE = "cpu"
    count = sum(p.numel() for p in SegTrainer.build_model(cfg).parameters())
    assert row["parameters"] == f"{count / 1e6:.1f} M"


def test_rows_are_found() -> None:
    assert len(_rows()) >= 9


def test_every_config_named_in_the_text_is_there() -> None:
    text = (REPOSITORY / "docs/results.md").read_text()
    named = set(re.findall(r"configs/[\w/]+\.yaml", text))
    assert named
    assert [name for name in sorted(named) if not (REPOSITORY / name).is_file()] == []
