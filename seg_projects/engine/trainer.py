"""Detectron2's trainer with our mapper, evaluators and optimizers."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import GeneralizedRCNNWithTTA, build_backbone
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm
from seg_projects.data.loading import (
    build_test_loader,
    build_train_loader,
    mapper_class,
    train_mapper_class,
)
from seg_projects.data.resuming import ResumableLoader
from seg_projects.engine.background_checkpoint import BackgroundCheckpointer
from seg_projects.engine.failures import RememberedBatches, explaining_failures
from seg_projects.engine.interruption import Interruption, StopBeforeEvaluation, Stopped
from seg_projects.engine.mixed_precision import BFloat16Trainer, trains_in_bfloat16
from seg_projects.engine.model_checks import (
    augments_detections,
    check_features,
    check_inference,
    check_losses,
    check_names,
    check_only_size,
    check_processes,
    check_sizes,
    warn_of_random_parts,
)
from seg_projects.engine.poly_lr import WarmupPolyLR
from seg_projects.engine.random_numbers import random_state
from seg_projects.engine.resumption import explaining_unusable
from seg_projects.engine.unreached import check_gradients
from seg_projects.engine.weights import load_weights
from seg_projects.errors import UserError
from seg_projects.evaluation import build_evaluator
from seg_projects.files import remove_stale_files, write_json

logger = logging.getLogger(__name__)


class SegTrainer(DefaultTrainer):
    """Trains and evaluates what the config names, panoptic data sets of ours included."""

    def __init__(self, cfg: CfgNode) -> None:
        """Builds what the config names.

        Raises:
            UserError: the device cannot train as ``SOLVER.AMP`` says, and what ``build_model``
                and its like raise.
        """
        in_bfloat16 = trains_in_bfloat16(cfg)
        super().__init__(cfg)
        if in_bfloat16:
            # Detectron2's trainer of mixed precision knows float16 on CUDA alone.
            self._trainer = BFloat16Trainer(self.model, self.data_loader, self.optimizer)
        self.data_loader = self._batches = RememberedBatches(self.data_loader)
        self._finished = -1

    def resume_or_load(self, resume: bool = True) -> None:
        """Goes on from the last checkpoint, or loads ``MODEL.WEIGHTS`` of any known naming.

        Raises:
            UserError: the checkpoint is damaged or of another config.
        """
        if resume and self.checkpointer.has_checkpoint():
            with explaining_unusable(Path(self.checkpointer.get_checkpoint_file())):
                super().resume_or_load(resume=True)
            if isinstance(self._batches.loader, ResumableLoader):
                self._batches.loader.skip(self.start_iter)
        else:
            replace = self.cfg.MODEL.REPLACE_CLASSIFIER
            load_weights(self.cfg, self.model, replace_classifier=replace)

    def build_hooks(self) -> list[HookBase | None]:
        """Detectron2's hooks, whose checkpoints another thread writes, and one that stops."""
        self.checkpointer = BackgroundCheckpointer(
            self.model,
            self.cfg.OUTPUT_DIR,
            save_to_disk=comm.is_main_process(),
            trainer=weakref.proxy(self),
        )
        found = super().build_hooks()
        self._interruption = Interruption()
        evaluation = next(i for i, hook in enumerate(found) if isinstance(hook, hooks.EvalHook))
        found.insert(evaluation, StopBeforeEvaluation(self._interruption))
        if augments_detections(self.cfg):
            # Once, after the training: each image is looked at many times.
            found.append(hooks.EvalHook(0, lambda: self.test_augmented(self.cfg, self.model)))
        return found

    def train(self) -> dict[str, Any] | None:  # type: ignore[override]  # as Detectron2's
        """Runs the iterations; when it returns, the last checkpoint stands.

        Raises:
            Stopped: a signal (Ctrl-C, SIGTERM) came; the state has been saved.
            UserError: a loss was not finite, the memory did not suffice, or a checkpoint could not
                be written.
        """
        if comm.is_main_process():
            remove_stale_files(Path(self.cfg.OUTPUT_DIR))
        try:
            with self._interruption.watching(), self.checkpointer.finishing():
                try:
                    return super().train()
                except Stopped:
                    self._save_state()
                    raise
        except Stopped as stop:
            saved = "No iteration is finished"
            if self._finished >= self.start_iter:
                saved = f"Iteration {self._finished} is saved; --resume goes on from there"
            logger.warning("Stopped by %s. %s.", stop.name, saved)
            raise

    def run_step(self) -> None:
        """One iteration.

        Raises:
            UserError: a loss was not finite, the memory did not suffice, or several processes train
                parameters that no loss reaches.
        """
        with explaining_failures(self.iter, self._batches):
            try:
                super().run_step()
            except RuntimeError:
                # The signal may have ended the processes that load data.
                self._interruption.check()
                raise
        if self.iter == self.start_iter:
            check_gradients(self.cfg, self.model)
        self._finished = self.iter
        first_save = self.start_iter + self.cfg.SOLVER.CHECKPOINT_PERIOD
        if self.iter == self.start_iter and first_save < self.max_iter:
            # Not before: the optimizer's state begins with its first step.
            self.checkpointer.reserve()

    def state_dict(self) -> dict[str, Any]:
        """Detectron2's state, and that of the random numbers where one process has all."""
        alone = comm.get_world_size() == 1
        return super().state_dict() | ({"random_numbers": random_state()} if alone else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # type: ignore[override]
        """Continues from ``state_dict``, of Detectron2's trainer too."""
        super().load_state_dict(state_dict)
        if comm.get_world_size() == 1:
            self._batches.random_state = state_dict.get("random_numbers")

    def _save_state(self) -> None:
        """Saves the last finished iteration, unless that is done; returns when it stands."""
        finished = self._finished >= self.start_iter
        if finished and comm.is_main_process() and self.checkpointer.iteration != self._finished:
            self.checkpointer.save(f"model_{self._finished:07d}", iteration=self._finished)
        self.checkpointer.wait()

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model of ``cfg``.

        Raises:
            UserError: a name in ``MODEL`` is not known, losses or windows are passed over, the
                backbone does not give a feature map, or images are smaller than its stride or
                larger than it takes.
        """
        check_names(cfg)
        check_losses(cfg)
        check_inference(cfg)
        try:
            model = super().build_model(cfg)
        except (KeyError, AssertionError):
            # Perhaps because of a feature map that there is not.
            check_features(cfg, build_backbone(cfg).output_shape())
            raise
        shapes = model.backbone.output_shape()
        # Some heads leave out a map that they do not find.
        check_features(cfg, shapes)
        check_sizes(cfg, shapes)
        check_only_size(cfg, model.backbone)
        check_processes(cfg, model)
        warn_of_random_parts(cfg, model)
        return model

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict[str, Any]]]:
        mapper = train_mapper_class(cfg)
        return (
            super().build_train_loader(cfg) if mapper is None else build_train_loader(cfg, mapper)
        )

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict[str, Any]]]:
        mapper = mapper_class(cfg, dataset_name)
        if mapper is None:
            return super().build_test_loader(cfg, dataset_name)
        return build_test_loader(cfg, dataset_name, mapper)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        return _evaluator(cfg, dataset_name, "inference")

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """``SOLVER.OPTIMIZER`` over Detectron2's parameter groups, gradients clipped as set."""
        kinds = {"ADAM": torch.optim.Adam, "ADAMW": torch.optim.AdamW}
        name = cfg.SOLVER.OPTIMIZER.upper()
        if name == "SGD":
            return super().build_optimizer(cfg, model)
        if name not in kinds:
            raise UserError(f"SOLVER.OPTIMIZER is {name!r}; known: SGD, {', '.join(kinds)}.")
        groups = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )
        optimizer = maybe_add_gradient_clipping(cfg, kinds[name])
        return optimizer(
            groups, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY, fused=True
        )

    @classmethod
    def build_lr_scheduler(
        cls, cfg: CfgNode, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """``SOLVER.LR_SCHEDULER_NAME``: ``WarmupPolyLR``, or one of Detectron2's.

        Raises:
            UserError: it is none of them, or the steps do not ascend.
        """
        solver = cfg.SOLVER
        if solver.LR_SCHEDULER_NAME != "WarmupPolyLR":
            try:
                return super().build_lr_scheduler(cfg, optimizer)
            except ValueError as error:
                raise UserError(
                    f"SOLVER.LR_SCHEDULER_NAME {solver.LR_SCHEDULER_NAME!r} with SOLVER.STEPS "
                    f"{tuple(solver.STEPS)} makes no schedule: {error} WarmupPolyLR is another one."
                ) from error
        return WarmupPolyLR(
            optimizer,
            solver.MAX_ITER,
            warmup_factor=solver.WARMUP_FACTOR,
            warmup_iters=solver.WARMUP_ITERS,
            warmup_method=solver.WARMUP_METHOD,
            power=solver.POLY_LR_POWER,
            constant_ending=solver.POLY_LR_CONSTANT_ENDING,
        )

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | list[DatasetEvaluator] | None = None,
    ) -> dict[str, Any]:
        """Evaluates on ``DATASETS.TEST``; ``evaluation.json`` keeps the figures, NaN as null."""
        # An evaluation takes no random numbers from the training that it is a part of.
        with torch.random.fork_rng():
            results = super().test(cfg, model, evaluators)
        if comm.is_main_process() and results:
            write_json(Path(cfg.OUTPUT_DIR) / "evaluation.json", results)
        return results

    @classmethod
    def test_augmented(cls, cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
        """Evaluates a detector with ``TEST.AUG``'s sizes and mirror images; tasks end in ``_TTA``.

        ``evaluation_tta.json`` keeps the figures.
        """
        evaluators = [_evaluator(cfg, name, "inference_tta") for name in cfg.DATASETS.TEST]
        results = super().test(cfg, GeneralizedRCNNWithTTA(cfg, model), evaluators)
        renamed = {f"{task}_TTA": figures for task, figures in results.items()}
        if comm.is_main_process() and renamed:
            write_json(Path(cfg.OUTPUT_DIR) / "evaluation_tta.json", renamed)
        return renamed


def _evaluator(cfg: CfgNode, dataset_name: str, folder: str) -> DatasetEvaluator:
    """The evaluators of a data set, which write to ``folder`` in ``OUTPUT_DIR``."""
    return build_evaluator(
        dataset_name,
        Path(cfg.OUTPUT_DIR) / folder / dataset_name,
        semantic_metrics=cfg.TEST.SEMANTIC_METRICS,
        # COCO's limit of 100, or all that the model may find where that is more.
        max_detections=max(100, cfg.TEST.DETECTIONS_PER_IMAGE),
        boundary_share=cfg.TEST.BOUNDARY_SHARE,
    )
