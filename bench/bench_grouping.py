"""Times Panoptic-DeepLab's post-processing, beside Detectron2's where it is there."""

from __future__ import annotations

from typing import Any

import torch
from panoptic_deeplab_scenes import HEIGHT, THING_IDS, WIDTH, alternating, peak_mib, street

from seg_projects.data.panoptic_deeplab_targets import PanopticDeepLabTargetGenerator
from seg_projects.postprocessing import group_panoptic

try:
    from detectron2.projects.panoptic_deeplab.post_processing import get_panoptic_segmentation
except ImportError:
    get_panoptic_segmentation = None

SETTINGS: dict[str, Any] = {
    "thing_ids": THING_IDS,
    "label_divisor": 1000,
    "stuff_area": 2048,
    "void_label": -1,
    "threshold": 0.1,
    "nms_kernel": 7,
    "top_k": 200,
}
PAIRS = 3


def network_outputs(things: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels, centre map and offsets as a trained network would give: targets and noise."""
    ids, segments = street(things)
    generate = PanopticDeepLabTargetGenerator(ignore_label=0, thing_ids=THING_IDS, sigma=10)
    targets = generate(ids, segments)
    generator = torch.Generator().manual_seed(things)
    offsets = targets["offset"] + 4 * torch.randn(2, HEIGHT, WIDTH, generator=generator)
    return targets["sem_seg"], targets["center"], offsets


def main() -> None:
    """Prints a row per scene: milliseconds, ratio, share of differing pixels."""
    print(
        f"grouping at {HEIGHT}x{WIDTH}, {torch.get_num_threads()} threads: "
        "things, centres | ours, ms | Detectron2 / ours | differing pixels | MiB: ours, theirs"
    )
    for things in (20, 60, 160):
        semantic, heatmap, offsets = network_outputs(things)
        panoptic, centers = group_panoptic(semantic, heatmap, offsets, **SETTINGS)
        theirs, differing = None, float("nan")
        if get_panoptic_segmentation:
            arguments = (semantic[None], heatmap[None], offsets)
            theirs = lambda: get_panoptic_segmentation(*arguments, **SETTINGS)  # noqa: E731, B023
            differing = (theirs()[0][0] != panoptic).float().mean().item()
        ours = lambda: group_panoptic(semantic, heatmap, offsets, **SETTINGS)  # noqa: E731, B023
        mine, ratio = alternating(ours, theirs, pairs=PAIRS)
        memory = [peak_mib(call) if call else float("nan") for call in (ours, theirs)]
        print(
            f"{things:4d}, {len(centers):4d} | {1e3 * mine:7.1f} | {ratio or float('nan'):6.1f} | "
            f"{differing:.2g} | {memory[0]:.0f}, {memory[1]:.0f}"
        )


if __name__ == "__main__":
    main()
