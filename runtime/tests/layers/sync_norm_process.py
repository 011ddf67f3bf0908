"""One of two processes that compare NaiveSyncBatchNorm with nn.BatchNorm2d on all images.

Prints a JSON object of facts, all of which must be true. Arguments: rank, file of the store.
"""

import json
import sys

import torch
import torch.distributed as dist
from torch import Tensor, nn

from detectron2.layers import NaiveSyncBatchNorm


def compare(label: str, stats_mode: str, parts: list[Tensor], rank: int) -> dict[str, bool]:
    """Result, gradient and running mean of this process's part beside those of the whole."""
    whole = torch.cat(parts).requires_grad_()
    part = parts[rank].clone().requires_grad_()
    plain, ours = nn.BatchNorm2d(3), NaiveSyncBatchNorm(3, stats_mode=stats_mode)
    expected, result = plain(whole), ours(part)
    (expected**3).sum().backward()
    (result**3).sum().backward()
    first = sum(len(p) for p in parts[:rank])
    mine = slice(first, first + len(part))
    assert whole.grad is not None
    assert part.grad is not None
    return {
        f"{label} result": torch.allclose(result, expected[mine], atol=1e-5),
        f"{label} gradient": torch.allclose(part.grad, whole.grad[mine], atol=1e-4),
        f"{label} mean": torch.allclose(ours.running_mean, plain.running_mean, atol=1e-6),
    }


def main(rank: int, store: str) -> None:
    """Runs the comparisons and prints their outcome."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(0)
    images = torch.randn(5, 3, 4, 4)
    report = compare("equal batches", "", [images[:2], images[2:4]], rank)
    report |= compare("unequal batches", "N", [images[:1], images[1:]], rank)
    empty = NaiveSyncBatchNorm(3, stats_mode="N")
    report["no images anywhere"] = empty(images[:0]).shape == (0, 3, 4, 4)
    report["statistics stay"] = bool((empty.running_mean == 0).all())
    dist.destroy_process_group()
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
