#!/usr/bin/env python
"""Times scores at a quarter of the size to a label map, beside interpolate and argmax.

python bench/bench_logits_to_labels.py

Needs no Detectron2: theirs are the two calls of torch that its models and evaluators make. Regions
are those of smooth scores; noise, where classes meet in every cell, is the worst case.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import torch
from panoptic_deeplab_scenes import alternating, peak_mib
from torch import Tensor
from torch.nn import functional as F

from seg_projects.postprocessing import upsampled_labels

SIZES = ((54, 480, 640), (19, 1024, 2048))
KERNEL = "seg_projects.postprocessing.upsampled_labels_kernel"


def scores_of(classes: int, height: int, width: int, *, noise: bool) -> Tensor:
    """(K, height / 4, width / 4): about 30 regions a side length, or noise."""
    generator = torch.Generator().manual_seed(0)
    size = (height // 4, width // 4)
    if noise:
        return torch.randn(classes, *size, generator=generator)
    coarse = torch.randn(1, classes, height // 64, width // 64, generator=generator)
    return F.interpolate(coarse, size=size, mode="bicubic")[0].contiguous()


def reference(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """The label map by way of all fine scores."""
    fine = F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)
    return fine.argmax(dim=1)[0]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a row per case: milliseconds, ratio, share of differing pixels, peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    print("case | ours, ms | theirs / ours | differing pixels | MiB: ours, theirs")
    for compiled in (True, False):
        if not compiled:
            sys.modules[KERNEL] = None  # type: ignore[assignment]  # as without numba
        for classes, height, width in SIZES:
            for noise in (False, True):
                scores = scores_of(classes, height, width, noise=noise)
                name = f"{classes} classes to {height}x{width}, "
                name += f"{'noise' if noise else 'regions'}, {'numba' if compiled else 'torch'}"
                print_row(name, scores, (height, width), args.pairs)


def print_row(name: str, scores: Tensor, size: tuple[int, int], pairs: int) -> None:
    """One case, timed in turns."""
    calls: list[Callable[[], Tensor]] = [
        lambda: upsampled_labels(scores, size),
        lambda: reference(scores, size),
    ]
    differing = (calls[0]() != calls[1]()).float().mean().item()
    mine, ratio = alternating(calls[0], calls[1], pairs=pairs)
    memory = [peak_mib(call) for call in calls]
    print(
        f"{name:<46} | {1e3 * mine:7.1f} | {ratio:6.2f} | {differing:.1g} | "
        f"{memory[0]:.0f}, {memory[1]:.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
