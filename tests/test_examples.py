"""The examples of the documentation do what they promise."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from tiny_runs import (
    REPOSITORY,
    TINY_MODEL,
    prepare_tiny_shapes,
    run_python,
    tiny_config,
    tool_main,
    write_config,
)

from seg_projects.engine import import_modules, load_config

EXAMPLE = REPOSITORY / "docs" / "examples" / "linear_head.yaml"


@pytest.fixture
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules are named as from the root of the repository."""
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.usefixtures("_in_repository")
def test_head_of_ones_own_trains_predicts_and_reports(tmp_path: Path) -> None:
    root, output = prepare_tiny_shapes(tmp_path / "data"), tmp_path / "output"
    content = tiny_config(root, output) | {"_BASE_": str(EXAMPLE)}
    # What the example sets stays.
    content["MODEL"] = {key: value for key, value in TINY_MODEL.items() if key != "SEM_SEG_HEAD"}
    config = write_config(tmp_path / "config.yaml", content)
    imported = ["--import", "docs.examples.linear_head", "--config-file"]
    assert tool_main("train_net")([*imported, str(config)]) == 0
    model = torch.load(output / "model_final.pth", weights_only=True)["model"]
    names = {name for name in model if name.startswith("sem_seg_head.")}
    assert names == {"sem_seg_head.predictor.weight", "sem_seg_head.predictor.bias"}
    results = json.loads((output / "evaluation.json").read_text())
    assert 0 < results["sem_seg"]["mIoU"] < 100

    written = str(output / "config.yaml")
    arguments = ["--input", str(root / "shapes" / "val"), "--output", str(tmp_path / "out")]
    assert tool_main("predict")([*imported, written, *arguments]) == 0
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 2
    assert tool_main("report")([*imported, written]) == 0
    assert (output / "report.html").is_file()


@pytest.mark.usefixtures("_in_repository")
def test_linear_head_gives_logits_and_a_loss_at_image_size() -> None:
    import_modules(["docs.examples.linear_head"])
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import build_sem_seg_head

    cfg = load_config(EXAMPLE, ["MODEL.DEVICE", "cpu"])
    head = build_sem_seg_head(cfg, {"p2": ShapeSpec(channels=6, stride=4)})
    features = {"p2": torch.rand(2, 6, 3, 4)}
    # All void but one pixel, of class 3: its loss is minus the log of that class's probability.
    targets = torch.full((2, 12, 16), 255)
    targets[1, 5, 7] = 3
    # In evaluation, too, an input may carry its labels.
    logits, losses = head.eval()(features, targets)
    assert (logits.shape, losses) == ((2, 4, 12, 16), {})
    nothing, losses = head.train()(features, targets)
    assert nothing is None
    expected = -logits[1, :, 5, 7].log_softmax(dim=0)[3]
    torch.testing.assert_close(losses, {"loss_sem_seg": expected})


def _readme_head() -> str:
    """The code of README's section on adding a head."""
    section = (REPOSITORY / "README.md").read_text().split("## Add a head", 1)[1]
    found = re.search(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert found is not None
    return found[1]


def test_head_of_the_readme_trains_from_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "my_head.py").write_text(_readme_head())
    root, output = prepare_tiny_shapes(tmp_path / "data"), tmp_path / "output"
    content = tiny_config(root, output, SOLVER={"MAX_ITER": 1}, DATASETS={"TEST": []})
    head = {"NAME": "LinearHead", "IN_FEATURES": ["p2"], "NUM_CLASSES": 4}
    content["MODEL"] = TINY_MODEL | {"SEM_SEG_HEAD": head}
    write_config(tmp_path / "my.yaml", content)
    done = run_python(
        REPOSITORY / "tools" / "train_net.py",
        *("--import", "my_head", "--config-file", "my.yaml"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (line,) = (output / "metrics.json").read_text().splitlines()
    assert 0 < json.loads(line)["loss_sem_seg"] < 10
    model = torch.load(output / "model_final.pth", weights_only=True)["model"]
    assert model["sem_seg_head.predictor.weight"].shape == (4, 8, 1, 1)


def test_head_of_the_readme_is_the_file_that_it_names() -> None:
    assert _readme_head() in (REPOSITORY / "docs" / "examples" / "linear_head.py").read_text()
