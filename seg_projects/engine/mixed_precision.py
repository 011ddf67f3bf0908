"""Training in bfloat16, on a CPU or a GPU, without scaling the loss."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from seg_projects.errors import UserError

PRECISIONS = ("auto", "float16", "bfloat16")


class BFloat16Trainer(SimpleTrainer):
    """A ``SimpleTrainer`` whose forward passes autocast to bfloat16.

    bfloat16 has the exponents of float32: losses need no scale, and a checkpoint is that of a
    training in float32. Parameters, their gradients and the optimizer stay in float32.
    """

    def run_step(self) -> None:
        """One iteration of gradient descent."""
        assert self.model.training, "the model was changed to eval mode during training"
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, dtype=torch.bfloat16):
            losses: Mapping[str, Tensor] = self.model(data)
        # Backward passes use the types of their forward passes by themselves.
        sum(loss.float() for loss in losses.values()).backward()
        self.after_backward()
        self.write_metrics(losses, data_time, self.iter)
        self.optimizer.step()


def trains_in_bfloat16(cfg: CfgNode) -> bool:
    """Does ``SOLVER.AMP`` ask for bfloat16 on ``MODEL.DEVICE``?

    Raises:
        UserError: the precision is unknown, or the device has no fast arithmetic of that kind.
    """
    amp, device = cfg.SOLVER.AMP, torch.device(cfg.MODEL.DEVICE).type
    if amp.PRECISION not in PRECISIONS:
        raise UserError(
            f"SOLVER.AMP.PRECISION is {amp.PRECISION!r}; known: {', '.join(PRECISIONS)}."
        )
    if not amp.ENABLED:
        return False
    if device == "cpu":
        _check_cpu(amp.PRECISION)
    return device == "cpu" or amp.PRECISION == "bfloat16"


def _check_cpu(precision: str) -> None:
    if precision == "float16":
        raise UserError(
            "SOLVER.AMP.PRECISION is 'float16', which needs CUDA, and MODEL.DEVICE is 'cpu': set "
            "the precision to 'bfloat16', or SOLVER.AMP.ENABLED to False."
        )
    if not cpu_has_bfloat16():
        raise UserError(
            "SOLVER.AMP.ENABLED is True, but this CPU has no instructions for bfloat16 "
            "(AVX512_BF16 or AMX, on ARM BF16), and without them it would be far slower: set "
            "SOLVER.AMP.ENABLED to False."
        )


def cpu_has_bfloat16() -> bool:
    """Can this CPU multiply in bfloat16, instead of imitating it hundreds of times slower?"""
    if not torch.backends.mkldnn.is_available():
        return False
    if platform.machine().lower() in ("aarch64", "arm64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    # There torch asks oneDNN, which is content with AVX512 alone.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
