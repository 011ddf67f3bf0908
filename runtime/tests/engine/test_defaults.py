from __future__ import annotations

import gc
import json
import logging
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden, weight_rule
from torch import nn

from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import (
    DefaultPredictor,
    DefaultTrainer,
    HookBase,
    create_ddp_model,
    default_writers,
    hooks,
)
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import META_ARCH_REGISTRY


@META_ARCH_REGISTRY.register()
class TinyForDefaults(nn.Module):
    """Two parameters and a BatchNorm; predicts nothing."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.bn = nn.BatchNorm1d(1)

    def forward(self, batch: torch.Tensor) -> Any:
        if not self.training:
            return [{} for _ in batch]
        y = self.bn(self.linear(batch))
        return {"loss_a": y.square().mean(), "loss_b": self.linear.weight.square().sum()}


class CountingEvaluator(DatasetEvaluator):
    def reset(self) -> None:
        self.seen = 0

    def process(self, inputs: Any, outputs: Any) -> None:
        self.seen += len(outputs)

    def evaluate(self) -> dict[str, dict[str, float]]:
        return {"count": {"n": float(self.seen)}}


class Trainer(DefaultTrainer):
    """Reads batches of two numbers instead of a data set."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        return [torch.tensor([[1.0], [2.0]])] * 1000

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        return [torch.tensor([[1.0], [2.0]])] * 3


class EvaluatingTrainer(Trainer):
    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return CountingEvaluator()


@pytest.fixture
def cfg(tmp_path: Path) -> Iterator[CfgNode]:
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "TinyForDefaults"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    cfg.DATASETS.TEST = ("numbers",)
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 4, ()
    cfg.SOLVER.CHECKPOINT_PERIOD = 2
    torch.manual_seed(0)
    return cfg


def test_hooks_have_upstreams_order(cfg: CfgNode) -> None:
    cfg.TEST.PRECISE_BN.ENABLED = True
    names = [type(hook).__name__ for hook in Trainer(cfg)._hooks]
    assert names == [
        "IterationTimer",
        "LRScheduler",
        "PreciseBN",
        "PeriodicCheckpointer",
        "EvalHook",
        "PeriodicWriter",
    ]


def test_training_writes_metrics_and_checkpoints(cfg: CfgNode) -> None:
    trainer = EvaluatingTrainer(cfg)
    trainer.resume_or_load(resume=False)
    assert trainer.train() is None
    out = Path(cfg.OUTPUT_DIR)
    files = sorted(name for name in os.listdir(out) if "tfevents" not in name)
    assert files == [
        "last_checkpoint",
        "metrics.json",
        "model_0000001.pth",
        "model_0000003.pth",
        "model_final.pth",
    ]
    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    assert {"total_loss", "loss_a", "loss_b", "lr", "time", "data_time"} <= set(lines[0])
    # Three batches of two images, evaluated after the last iteration.
    assert lines[-1] == {"count/n": 6.0, "iteration": 4}


def test_checkpoint_holds_plain_data(cfg: CfgNode) -> None:
    trainer = Trainer(cfg)
    trainer.train()
    path = Path(cfg.OUTPUT_DIR, "model_final.pth")
    checkpoint = torch.load(path, weights_only=True)
    assert sorted(checkpoint) == ["iteration", "model", "trainer"]
    assert sorted(checkpoint["trainer"]) == ["_trainer", "hooks", "iteration"]
    assert sorted(checkpoint["trainer"]["_trainer"]) == ["iteration", "optimizer"]
    assert checkpoint["trainer"]["hooks"]["LRScheduler"]["last_epoch"] == 4


def test_a_resumed_training_ends_like_an_uninterrupted_one(cfg: CfgNode) -> None:
    torch.manual_seed(0)
    whole = Trainer(cfg)
    initial = {name: p.detach().clone() for name, p in whole.model.state_dict().items()}
    whole.train()

    first = Trainer(cfg)
    first.model.load_state_dict(initial)
    first.max_iter = 2
    first.train()
    assert torch.load(Path(cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)["iteration"] == 1
    second = Trainer(cfg)
    second.resume_or_load(resume=True)
    assert second.start_iter == 2
    second.train()
    for name, expected in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], expected), name


def test_resuming_without_a_checkpoint_starts_anew(cfg: CfgNode) -> None:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 0


def test_hooks_see_the_backward_pass(cfg: CfgNode) -> None:
    gradients: list[bool] = []

    class Watch(HookBase):
        def after_backward(self) -> None:
            trainer: Any = self.trainer
            gradients.append(trainer.model.linear.weight.grad is not None)

    trainer = Trainer(cfg)
    trainer.register_hooks([Watch()])
    trainer.train()
    assert gradients == [True] * 4


def test_evaluation_happens_periodically(cfg: CfgNode) -> None:
    cfg.TEST.EVAL_PERIOD = 2
    trainer = EvaluatingTrainer(cfg)
    trainer.train()
    history = trainer.storage.history("count/n").values()
    assert history == [(6.0, 1), (6.0, 4)]
    assert trainer.model.training


def test_expected_results_are_required(cfg: CfgNode) -> None:
    cfg.TEST.EXPECTED_RESULTS = [["count", "n", 6.0, 0.1]]
    assert EvaluatingTrainer(cfg).train() == {"count": {"n": 6.0}}
    cfg.TEST.EXPECTED_RESULTS = [["count", "n", 7.0, 0.1]]
    with pytest.raises(SystemExit):
        EvaluatingTrainer(cfg).train()


def test_results_of_one_data_set_stand_alone(cfg: CfgNode) -> None:
    model = TinyForDefaults(cfg)
    assert EvaluatingTrainer.test(cfg, model) == {"count": {"n": 6.0}}
    cfg.DATASETS.TEST = ("a", "b")
    evaluators: list[DatasetEvaluator] = [CountingEvaluator(), CountingEvaluator()]
    results = Trainer.test(cfg, model, evaluators)
    assert results == {"a": {"count": {"n": 6.0}}, "b": {"count": {"n": 6.0}}}


def test_each_data_set_needs_its_evaluator(cfg: CfgNode) -> None:
    cfg.DATASETS.TEST = ("a", "b")
    with pytest.raises(AssertionError, match="1 evaluators for the 2 data sets"):
        Trainer.test(cfg, TinyForDefaults(cfg), CountingEvaluator())


def test_without_an_evaluator_nothing_is_evaluated(
    cfg: CfgNode, caplog: pytest.LogCaptureFixture
) -> None:
    assert Trainer.test(cfg, TinyForDefaults(cfg)) == {}
    assert "No evaluator found" in caplog.text
    with pytest.raises(NotImplementedError, match="build_evaluator"):
        Trainer.build_evaluator(cfg, "numbers")


def test_a_dropped_trainer_frees_its_model(cfg: CfgNode) -> None:
    # torch itself keeps the frames in which the first optimizer of a process is built, and
    # pytest the arguments of all log records.
    logging.disable(logging.CRITICAL)
    Trainer(cfg).train()
    gc.collect()
    gc.disable()
    try:
        trainer = Trainer(cfg)
        trainer.train()
        watch = weakref.ref(trainer.model)
        del trainer
        assert watch() is None
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


def test_model_optimizer_and_loader_are_the_inner_trainers(cfg: CfgNode) -> None:
    trainer = Trainer(cfg)
    model = TinyForDefaults(cfg)
    trainer.model = model
    trainer.data_loader = [1]
    trainer.optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    assert trainer._trainer.model is model
    assert trainer._trainer.data_loader == [1]
    assert trainer._trainer.optimizer.defaults["lr"] == 0.5


@pytest.mark.parametrize(
    ("workers", "reference", "expected"),
    [
        (8, 16, (8, 0.0005, 80000, (60000,), 2000, 10000, 8)),
        (8, 4, (32, 0.002, 20000, (15000,), 500, 2500, 8)),
        (1, 8, (2, 0.000125, 320000, (240000,), 8000, 40000, 1)),
    ],
)
def test_scaling_to_another_number_of_processes(
    workers: int, reference: int, expected: tuple[Any, ...]
) -> None:
    cfg = get_cfg()
    cfg.SOLVER.REFERENCE_WORLD_SIZE = reference
    cfg.freeze()
    scaled = DefaultTrainer.auto_scale_workers(cfg, workers)
    solver = scaled.SOLVER
    assert scaled.is_frozen()
    assert cfg.SOLVER.IMS_PER_BATCH == 16
    assert expected == (
        solver.IMS_PER_BATCH,
        solver.BASE_LR,
        solver.MAX_ITER,
        solver.STEPS,
        solver.WARMUP_ITERS,
        solver.CHECKPOINT_PERIOD,
        solver.REFERENCE_WORLD_SIZE,
    )


@pytest.mark.parametrize("reference", [0, 8])
def test_nothing_to_scale(reference: int) -> None:
    cfg = get_cfg()
    cfg.SOLVER.REFERENCE_WORLD_SIZE = reference
    assert DefaultTrainer.auto_scale_workers(cfg, 8) is cfg


def test_reference_must_divide_the_batch() -> None:
    cfg = get_cfg()
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 7
    with pytest.raises(AssertionError, match="REFERENCE_WORLD_SIZE=7"):
        DefaultTrainer.auto_scale_workers(cfg, 8)


def test_one_process_needs_no_ddp() -> None:
    model = nn.Linear(1, 1)
    assert create_ddp_model(model) is model


def test_default_writers_create_their_folder(tmp_path: Path) -> None:
    writers = default_writers(str(tmp_path / "a" / "b"), 10)
    names = [type(writer).__name__ for writer in writers]
    assert names == ["CommonMetricPrinter", "JSONWriter", "TensorboardXWriter"]
    assert (tmp_path / "a" / "b").is_dir()
    hooks.PeriodicWriter(writers)
    for writer in writers:
        writer.close()


@pytest.fixture(scope="module")
def predictor() -> DefaultPredictor:
    golden = Golden("predictor_and_misc")
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml")
    cfg.merge_from_list([*golden.params["opts"], "MODEL.DEVICE", "cpu"])
    predictor = DefaultPredictor(cfg)
    gains = golden.params["gains"]
    weight_rule().fill(predictor.model, golden.params["seed"], gains)
    return predictor


def test_recorded_prediction(predictor: DefaultPredictor) -> None:
    golden = Golden("predictor_and_misc")
    instances = predictor(golden.input_array("image"))["instances"]
    facts = golden.json("facts")
    assert list(instances.image_size) == facts["image_size"]
    assert predictor.model.training is facts["training"]
    assert predictor.input_format == facts["aug_input_format"]
    # Neighbouring scores differ by little: match rows by class, box and score.
    boxes, scores = golden.output("boxes"), golden.output("scores")
    classes, masks = golden.output("classes"), golden.output("masks")
    unmatched = 0
    for box, score, label, mask in zip(boxes, scores, classes, masks, strict=True):
        near = (
            (instances.pred_classes.numpy() == label)
            & (np.abs(instances.pred_boxes.tensor.numpy() - box).max(1) <= 1e-3 * boxes.max())
            & (np.abs(instances.scores.numpy() - score) <= 1e-3 * scores.max())
        )
        if not near.any():
            unmatched += 1
            continue
        candidates = instances.pred_masks.numpy()[near]
        assert (candidates != mask).mean(axis=(1, 2)).min() <= 0.005
    assert len(instances) == len(boxes)
    assert unmatched <= 0.05 * len(boxes)


@pytest.mark.parametrize(
    ("image", "message"),
    [(None, "None"), (np.zeros((4, 4), np.uint8), r"\(4, 4\)"), (np.zeros((4, 4, 4)), "4, 4, 4")],
)
def test_other_images_are_refused(
    predictor: DefaultPredictor, image: np.ndarray | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        predictor(image)


def test_rgb_models_get_rgb(predictor: DefaultPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def model(batch: list[dict[str, Any]]) -> list[Any]:
        seen.append(batch[0]["image"])
        return [{"size": (batch[0]["height"], batch[0]["width"])}]

    monkeypatch.setattr(predictor, "model", model)
    monkeypatch.setattr(predictor, "input_format", "RGB")
    image = np.zeros((96, 96, 3), np.uint8)
    image[..., 0] = 7  # blue
    assert predictor(image) == {"size": (96, 96)}
    assert [channel.mean().item() for channel in seen[0]] == [0.0, 0.0, 7.0]
