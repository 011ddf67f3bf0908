"""Paths: local files, and the names of published models."""

from __future__ import annotations

from pathlib import Path

import pytest

from detectron2.utils.file_io import Detectron2Handler, PathManager


def test_local_files_are_opened(tmp_path: Path) -> None:
    path = str(tmp_path / "x.txt")
    with PathManager.open(path, "w") as file:
        file.write("x")
    assert PathManager.isfile(path)
    assert PathManager.get_local_path(path) == path


def test_model_names_lead_to_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded = tmp_path / "model.pkl"
    downloaded.write_text("weights")
    asked: list[str] = []

    def get_local_path(path: str, force: bool = False) -> str:
        asked.append(path)
        return str(downloaded)

    handler = Detectron2Handler()
    monkeypatch.setattr(PathManager, "get_local_path", get_local_path)
    assert handler._get_local_path("detectron2://A/model.pkl") == str(downloaded)
    with handler._open("detectron2://A/model.pkl") as file:
        assert file.read() == "weights"
    assert set(asked) == {"https://dl.fbaipublicfiles.com/detectron2/A/model.pkl"}


def test_the_manager_knows_the_prefix() -> None:
    assert PathManager._PathManager__get_path_handler("detectron2://x").PREFIX == "detectron2://"
