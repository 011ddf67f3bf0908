"""Training in bfloat16: each kind of model, devices that cannot, checkpoints."""

from __future__ import annotations

import copy
import platform
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_configs import shrink, use_generated_data
from tiny_runs import REPOSITORY, tiny_config, tool_main, write_config

from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from seg_projects.data import declare_all
from seg_projects.engine import SegTrainer, load_config, mixed_precision
from seg_projects.engine.mixed_precision import (
    BFloat16Trainer,
    cpu_has_bfloat16,
    trains_in_bfloat16,
)
from seg_projects.errors import UserError

AMP = {"ENABLED": True}


@pytest.fixture
def able_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instructions are there; on a CPU without them these tests are slow, not wrong."""
    monkeypatch.setattr(mixed_precision, "cpu_has_bfloat16", lambda: True)


def _config(**amp: Any) -> CfgNode:
    overrides = [text for key, value in amp.items() for text in (f"SOLVER.AMP.{key}", value)]
    config = REPOSITORY / "configs/quickstart/panoptic_fpn_shapes.yaml"
    return load_config(config, ["MODEL.DEVICE", "cpu", *overrides])


def _train(folder: Path, root: Path, *options: str, **solver: Any) -> Path:
    """Trains two iterations, the second after a checkpoint; returns the output folder."""
    folder.mkdir(exist_ok=True)
    solver = {"CHECKPOINT_PERIOD": 1, "AMP": AMP, **solver}
    content = tiny_config(root, folder / "output", SOLVER=solver)
    config = write_config(folder / "tiny.yaml", content)
    assert tool_main("train_net")(["--config-file", str(config), *options]) == 0
    return folder / "output"


@pytest.mark.usefixtures("able_cpu")
@pytest.mark.parametrize(
    "leaf",
    [
        "quickstart/panoptic_fpn_shapes",
        "overfit/panoptic_deeplab_coco",
        "membrane/unet",
        "camvid/icnet",
        "instance/balloon",
        "own/cascade_mask_rcnn",
    ],
)
def test_a_step_in_bfloat16_is_close_to_one_in_float32(leaf: str, tmp_path: Path) -> None:
    cfg = load_config(REPOSITORY / f"configs/{leaf}.yaml", ["SOLVER.AMP.ENABLED", "True"])
    shrink(cfg)
    use_generated_data(cfg, tmp_path / "data")
    declare_all(cfg)
    model = SegTrainer.build_model(cfg).train()
    batch = next(iter(SegTrainer.build_train_loader(cfg)))
    torch.manual_seed(1)
    with EventStorage():
        wanted = sum(copy.deepcopy(model)(copy.deepcopy(batch)).values()).item()
    torch.manual_seed(1)
    with EventStorage() as storage:
        BFloat16Trainer(model, [batch], SegTrainer.build_optimizer(cfg, model)).run_step()
    # bfloat16 has 8 bits: other proposals may be sampled.
    assert storage.latest()["total_loss"][0] == pytest.approx(wanted, rel=0.05)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients)


@pytest.mark.usefixtures("able_cpu")
def test_the_forward_pass_computes_in_bfloat16(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 1)
    seen: list[torch.dtype] = []
    layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output.dtype))

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": self.layer(batch).sum()}

    model = Model()
    before = layer.weight.detach().clone()
    trainer = BFloat16Trainer(
        model, [torch.ones(3, 2)], torch.optim.SGD(model.parameters(), lr=0.1)
    )
    with EventStorage():
        trainer.run_step()
    assert seen == [torch.bfloat16]
    # The gradient of each weight is 3, the number of rows.
    torch.testing.assert_close(layer.weight, before - 0.3)


@pytest.mark.usefixtures("able_cpu")
def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path, tiny_root: Path) -> None:
    whole = _train(tmp_path / "whole", tiny_root)
    parts = _train(tmp_path / "parts", tiny_root, MAX_ITER=1)
    (parts / "last_checkpoint").write_text("model_0000000.pth")
    state = torch.load(parts / "model_0000000.pth", weights_only=True)
    assert "grad_scaler" not in state["trainer"]["_trainer"]
    # Also where the first part was in float32.
    _train(tmp_path / "parts", tiny_root, "--resume", AMP={"ENABLED": False})
    for output in (whole, parts):
        content = torch.load(output / "model_final.pth", weights_only=True)
        assert content["iteration"] == 1
        assert all(value.isfinite().all() for value in content["model"].values())


def test_a_cpu_without_the_instructions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    message = r"this CPU has no instructions for bfloat16.* set SOLVER\.AMP\.ENABLED to False\.$"
    with pytest.raises(UserError, match=message):
        SegTrainer(_config(ENABLED="True"))


def test_arm_is_asked_for_its_own_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert cpu_has_bfloat16()
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert not cpu_has_bfloat16()


@pytest.mark.usefixtures("able_cpu")
@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("cpu", "auto", True),
        ("cpu", "bfloat16", True),
        ("cuda", "auto", False),
        ("cuda", "float16", False),
        ("cuda:1", "bfloat16", True),
    ],
)
def test_the_precision_follows_from_device_and_key(
    device: str, precision: str, expected: bool
) -> None:
    cfg = _config(ENABLED="True", PRECISION=precision)
    cfg.MODEL.DEVICE = device
    assert trains_in_bfloat16(cfg) is expected
    cfg.SOLVER.AMP.ENABLED = False
    assert trains_in_bfloat16(cfg) is False


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(UserError, match=r"PRECISION is 'half'; known: auto, float16, bfloat16"):
        trains_in_bfloat16(_config(PRECISION="half"))


def test_float16_on_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match=r"'float16', which needs CUDA.*set .* to 'bfloat16'"):
        trains_in_bfloat16(_config(ENABLED="True", PRECISION="float16"))
