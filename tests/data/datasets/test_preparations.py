"""Every ``datasets/prepare_*.py``: twice, killed in the middle and again, with parts missing."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from publisher_layouts import LAYOUTS, Layout
from tiny_runs import REPOSITORY, run_python

SCRIPTS = sorted(
    path.stem.removeprefix("prepare_") for path in (REPOSITORY / "datasets").glob("*.py")
)

# One process imports everything; of it a child per script dies at its n-th rename, as by SIGKILL:
# no exception is caught, no file is closed.
KILLED = """
import json, os, runpy, signal, sys
import seg_projects.data.datasets.preparation_command
import seg_projects.data.datasets.coco_stuff, seg_projects.data.datasets.label_map_sets
import seg_projects.data.datasets.cityscapes, seg_projects.data.datasets.pascal_voc
statuses = []
for script, arguments, last in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        count, rename = 0, os.replace
        def counted(*paths, **options):
            global count
            count += 1
            if count > last:
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(*paths, **options)
        os.replace = counted
        os._exit(runpy.run_path(script)["main"](arguments))
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(statuses))
"""


def _main(name: str) -> Callable[[list[str]], int]:
    return runpy.run_path(str(REPOSITORY / "datasets" / f"prepare_{name}.py"))["main"]


def _tree(folder: Path) -> dict[str, bytes]:
    """What is in the files below ``folder``, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _layout(name: str, folder: Path) -> Layout:
    return LAYOUTS[name](folder / "source")


def test_each_script_has_a_layout() -> None:
    assert {*LAYOUTS, "shapes"} == set(SCRIPTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_second_run_touches_nothing(tmp_path: Path, name: str) -> None:
    layout = _layout(name, tmp_path)
    before = set(_tree(layout.output)) if layout.output.is_dir() else set()
    assert _main(name)(layout.arguments) == 0
    assert set(_tree(layout.output)) > before
    files = [path for path in layout.output.rglob("*") if path.is_file()]
    times = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}
    assert _main(name)(layout.arguments) == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files} == times
    assert set(files) == {path for path in layout.output.rglob("*") if path.is_file()}


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="processes cannot be forked here")
def test_killed_preparation_is_completed_by_the_next(tmp_path: Path) -> None:
    jobs, clean = [], {}
    for name in LAYOUTS:
        whole = _layout(name, tmp_path / name / "whole")
        assert _main(name)(whole.arguments) == 0
        clean[name] = _tree(whole.output)
        writes = len(_tree(whole.output)) - (
            len(_tree(tmp_path / name / "whole" / "source")) if whole.output.name == "source" else 0
        )
        for last in sorted({0, 1, max(0, writes - 1)}):
            layout = _layout(name, tmp_path / name / str(last))
            script = str(REPOSITORY / "datasets" / f"prepare_{name}.py")
            jobs.append((name, layout, [script, layout.arguments, last]))
    done = run_python("-c", KILLED, json.dumps([job for _, _, job in jobs]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for (name, layout, _), status in zip(jobs, json.loads(done.stdout), strict=True):
        assert (name, status) == (name, -9)
        assert (name, _main(name)(layout.arguments)) == (name, 0)
        assert _tree(layout.output) == clean[name]


@pytest.mark.parametrize("name", LAYOUTS)
def test_missing_part_is_one_line_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for number in range(2):
        layout = _layout(name, tmp_path / str(number))
        absent = layout.needed[number]
        shutil.rmtree(absent) if absent.is_dir() else absent.unlink()
        assert _main(name)(layout.arguments) == 2
        errors = [line for line in capsys.readouterr().err.split("\n") if "error: " in line]
        assert len(errors) == 1
        assert absent.stem in errors[0]


def test_pairs_of_another_size_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = _layout("coco_stuff", tmp_path)
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "source" / "val_inst" / "1.png")
    assert _main("coco_stuff")(layout.arguments) == 2
    assert "1.png has the shape (2, 2), its image (4, 6)" in capsys.readouterr().err
