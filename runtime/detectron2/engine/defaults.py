"""The usual way to train and to predict with a config; write your own for what differs."""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import (
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data import transforms as T
from detectron2.evaluation import (
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
)
from detectron2.evaluation.testing import verify_results
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
)
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

from . import hooks
from .startup import default_argument_parser, default_setup
from .train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase

__all__ = [
    "DefaultPredictor",
    "DefaultTrainer",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
]

logger = logging.getLogger(__name__)


def create_ddp_model(
    model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any
) -> nn.Module:
    """Wraps ``model`` for a run of several processes; alone it stays as it is.

    Args:
        model: on this process' device.
        fp16_compression: send gradients as float16.
        **kwargs: for ``DistributedDataParallel``.
    """
    if comm.get_world_size() == 1:
        return model
    if "device_ids" not in kwargs and next(model.parameters()).is_cuda:
        kwargs["device_ids"] = [comm.get_local_rank()]
    ddp = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        from torch.distributed.algorithms.ddp_comm_hooks import default as comm_hooks

        ddp.register_comm_hook(state=None, hook=comm_hooks.fp16_compress_hook)
    return ddp


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """Writers to the log, to ``metrics.json`` and to tensorboard files in ``output_dir``.

    Args:
        output_dir: created if it is missing.
        max_iter: number of iterations, by which the remaining time is estimated.
    """
    PathManager.mkdirs(output_dir)
    return [
        CommonMetricPrinter(max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]


class DefaultPredictor:
    """The model of a config on one image: no batches, no augmentation but the resizing."""

    def __init__(self, cfg: CfgNode) -> None:
        """Builds the model on ``cfg.MODEL.DEVICE`` and loads ``cfg.MODEL.WEIGHTS``."""
        self.cfg = cfg.clone()
        self.model = build_model(self.cfg)
        self.model.eval()
        if len(cfg.DATASETS.TEST):
            self.metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
        DetectionCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        self.aug = T.ResizeShortestEdge(
            [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MIN_SIZE_TEST], cfg.INPUT.MAX_SIZE_TEST
        )
        self.input_format = cfg.INPUT.FORMAT
        assert self.input_format in ("RGB", "BGR"), (
            f"INPUT.FORMAT={self.input_format!r}: the predictor takes 'BGR' or 'RGB'."
        )

    @torch.no_grad()
    def __call__(self, original_image: np.ndarray) -> dict[str, Any]:
        """Predicts on one image.

        Args:
            original_image: (H, W, 3) uint8, BGR as OpenCV reads it.

        Returns:
            The model's output for this image, at its original size.
        """
        if original_image is None or original_image.ndim != 3 or original_image.shape[2] != 3:
            shape = None if original_image is None else original_image.shape
            raise ValueError(f"The image has shape {shape}, not (H, W, 3); has the file been read?")
        image = original_image[:, :, ::-1] if self.input_format == "RGB" else original_image
        height, width = image.shape[:2]
        resized = self.aug.get_transform(image).apply_image(image)
        # (3, H', W')
        tensor = torch.as_tensor(np.ascontiguousarray(resized.transpose(2, 0, 1)))
        tensor = tensor.to(self.cfg.MODEL.DEVICE).float()
        return self.model([{"image": tensor, "height": height, "width": width}])[0]


class DefaultTrainer(TrainerBase):
    """Trains and evaluates what a config describes.

    Its ``build_*`` methods are there to be overridden; what runs a step is ``_trainer``.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Builds model, optimizer, data loader, schedule, checkpointer and hooks."""
        super().__init__()
        package_logger = logging.getLogger("detectron2")
        if not package_logger.isEnabledFor(logging.INFO):
            setup_logger()
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        model = create_ddp_model(model, broadcast_buffers=False)
        trainer_class = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = trainer_class(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = DetectionCheckpointer(
            # The underlying model: the wrapper's parameters have other names.
            model,
            cfg.OUTPUT_DIR,
            trainer=weakref.proxy(self),
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Goes on from the last checkpoint in the output folder, or loads ``MODEL.WEIGHTS``.

        Args:
            resume: look for a last checkpoint, and restore optimizer, schedule and iteration.
        """
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            # The checkpoint holds the index of its last finished iteration.
            self.start_iter = self.iter + 1

    def build_hooks(self) -> list[HookBase | None]:
        """The hooks in their order: timing, schedule, PreciseBN, saving, evaluating, writing."""
        cfg = self.cfg.clone()
        cfg.defrost()
        # PreciseBN reads its own batches, in the main process: two sets of workers are too many.
        cfg.DATALOADER.NUM_WORKERS = 0
        trainer = weakref.proxy(self)

        def test_and_save_results() -> dict[str, Any]:
            trainer._last_eval_results = trainer.test(trainer.cfg, trainer.model)
            return trainer._last_eval_results

        is_main = comm.is_main_process()
        return [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            self._build_precise_bn(cfg),
            # Before the evaluation, so that a failing one loses no training. All processes meet
            # in the evaluation: only one of them saves.
            hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)
            if is_main
            else None,
            hooks.EvalHook(cfg.TEST.EVAL_PERIOD, test_and_save_results),
            # Last: it writes what the others have recorded.
            hooks.PeriodicWriter(self.build_writers(), period=20) if is_main else None,
        ]

    def _build_precise_bn(self, cfg: CfgNode) -> HookBase | None:
        precise_bn = cfg.TEST.PRECISE_BN
        if not precise_bn.ENABLED:
            return None
        from fvcore.nn.precise_bn import get_bn_modules

        if not get_bn_modules(self.model):
            return None
        return hooks.PreciseBN(
            cfg.TEST.EVAL_PERIOD,
            self.model,
            self.build_train_loader(cfg),
            precise_bn.NUM_ITER,
        )

    def build_writers(self) -> list[EventWriter]:
        """The writers of metrics: see ``default_writers``."""
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def train(self) -> dict[str, Any] | None:  # type: ignore[override]  # as upstream's
        """Runs the iterations from ``start_iter`` to ``max_iter``.

        Returns:
            The last evaluation, on the main process, where ``TEST.EXPECTED_RESULTS`` asks to
            compare it; else None.
        """
        super().train(self.start_iter, self.max_iter)
        if not len(self.cfg.TEST.EXPECTED_RESULTS) or not comm.is_main_process():
            return None
        assert hasattr(self, "_last_eval_results"), (
            "TEST.EXPECTED_RESULTS is set, but nothing was evaluated."
        )
        verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def before_train(self) -> None:
        """Calls the hooks before the first iteration, and lets them see each backward pass."""
        if not any(isinstance(hook, _AfterBackward) for hook in self._trainer._hooks):
            self._trainer.register_hooks([_AfterBackward(weakref.proxy(self))])
        super().before_train()

    def run_step(self) -> None:
        """One iteration, by the inner trainer."""
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def after_train(self) -> None:
        """Calls the hooks, after the last metrics have arrived."""
        try:
            self._trainer.finish_metrics()
        finally:
            super().after_train()

    def state_dict(self) -> dict[str, Any]:
        """The loop's state and the inner trainer's."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from ``state_dict``."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @property
    def model(self) -> nn.Module:
        """The model that is trained; in a run of several processes, its DDP wrapper."""
        return self._trainer.model

    @model.setter
    def model(self, value: nn.Module) -> None:
        self._trainer.model = value

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the inner trainer."""
        return self._trainer.optimizer

    @optimizer.setter
    def optimizer(self, value: Optimizer) -> None:
        self._trainer.optimizer = value

    @property
    def data_loader(self) -> Iterable[Any]:
        """The source of training batches."""
        return self._trainer.data_loader

    @data_loader.setter
    def data_loader(self, value: Iterable[Any]) -> None:
        self._trainer.data_loader = value

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model of ``cfg``, logged."""
        model = build_model(cfg)
        logger.info("Model:\n%s", model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        """See ``detectron2.solver.build_optimizer``."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
        """See ``detectron2.solver.build_lr_scheduler``."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[Any]:
        """See ``detectron2.data.build_detection_train_loader``."""
        return build_detection_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
        """See ``detectron2.data.build_detection_test_loader``."""
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """The evaluator of ``dataset_name``: to be defined by a subclass."""
        raise NotImplementedError(
            f"{cls.__name__}.build_evaluator() is not defined: define it to have {dataset_name!r} "
            "evaluated during training, or call the evaluation functions yourself."
        )

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | list[DatasetEvaluator] | None = None,
    ) -> dict[str, Any]:
        """Evaluates ``model`` on the data sets of ``cfg.DATASETS.TEST``.

        Args:
            cfg: a config.
            model: left in the mode in which it came.
            evaluators: one per data set; by default those of ``build_evaluator``.

        Returns:
            The metrics, by data set if there are several; empty except on the main process.
        """
        names = cfg.DATASETS.TEST
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        if evaluators is not None:
            assert len(evaluators) == len(names), (
                f"{len(evaluators)} evaluators for the {len(names)} data sets of DATASETS.TEST."
            )
        results: dict[str, Any] = OrderedDict()
        for index, name in enumerate(names):
            data_loader = cls.build_test_loader(cfg, name)
            if evaluators is not None:
                evaluator = evaluators[index]
            else:
                try:
                    evaluator = cls.build_evaluator(cfg, name)
                except NotImplementedError as error:
                    logger.warning("No evaluator found. %s", error)
                    results[name] = {}
                    continue
            results[name] = inference_on_dataset(model, data_loader, evaluator)
            if comm.is_main_process():
                assert isinstance(results[name], dict), (
                    f"The evaluator of {name!r} returned {results[name]!r}, not a dict."
                )
                logger.info("Evaluation results for %s in csv format:", name)
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """Adapts a config written for ``SOLVER.REFERENCE_WORLD_SIZE`` processes to another number.

        The batch per process stays; the learning rate grows with the whole batch, and the length
        of the training and its periods shrink by the same factor (arXiv:1706.02677).

        Args:
            cfg: returned as it is if it names no reference, or ``num_workers``.
            num_workers: number of processes.
        """
        reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
        if reference in (0, num_workers):
            return cfg
        assert cfg.SOLVER.IMS_PER_BATCH % reference == 0, (
            f"Invalid SOLVER.REFERENCE_WORLD_SIZE={reference}: it does not divide "
            f"SOLVER.IMS_PER_BATCH={cfg.SOLVER.IMS_PER_BATCH}."
        )
        was_frozen = cfg.is_frozen()
        cfg = cfg.clone()
        cfg.defrost()
        solver, scale = cfg.SOLVER, num_workers / reference
        solver.IMS_PER_BATCH = round(solver.IMS_PER_BATCH * scale)
        solver.BASE_LR = solver.BASE_LR * scale
        solver.MAX_ITER = round(solver.MAX_ITER / scale)
        solver.WARMUP_ITERS = round(solver.WARMUP_ITERS / scale)
        solver.STEPS = tuple(round(step / scale) for step in solver.STEPS)
        solver.CHECKPOINT_PERIOD = round(solver.CHECKPOINT_PERIOD / scale)
        cfg.TEST.EVAL_PERIOD = round(cfg.TEST.EVAL_PERIOD / scale)
        solver.REFERENCE_WORLD_SIZE = num_workers
        logger.info(
            "Scaled the config to %d processes: batch_size=%d, learning_rate=%g, max_iter=%d, "
            "warmup=%d.",
            num_workers,
            solver.IMS_PER_BATCH,
            solver.BASE_LR,
            solver.MAX_ITER,
            solver.WARMUP_ITERS,
        )
        if was_frozen:
            cfg.freeze()
        return cfg


class _AfterBackward(HookBase):
    """Tells an outer trainer that the inner one has finished its backward pass."""

    def __init__(self, outer: TrainerBase) -> None:
        self._outer = outer

    def after_backward(self) -> None:
        self._outer.after_backward()
