"""Compares detections and panoptic maps whose order may differ from the recorded ones.

Neighbouring scores of a random network differ by little, so detections are first paired by class,
box and score, panoptic segments by overlap; the case's ``rows`` is the share that may stay alone.
"""

from __future__ import annotations

import numpy as np
from golden import DEFAULT_RTOL, Golden, check_json

from detectron2.structures import Instances


def match_detections(
    golden: Golden, instances: Instances, suffix: str = ""
) -> list[tuple[int, int]]:
    """Pairs (ours, recorded) of equal detections; asserts that few enough stay alone.

    Args:
        golden: Has the outputs ``boxes``, ``scores``, ``classes``, each with ``suffix``.
        instances: Detections with ``pred_boxes``, ``scores``, ``pred_classes``.
        suffix: End of the names of the outputs.
    """
    want_boxes = golden.output(f"boxes{suffix}")
    want_scores = golden.output(f"scores{suffix}")
    want_classes = golden.output(f"classes{suffix}")
    boxes = instances.pred_boxes.tensor.detach().cpu().numpy()
    scores = instances.scores.detach().cpu().numpy()
    classes = instances.pred_classes.cpu().numpy()
    box_limit = golden.tolerance(f"out.boxes{suffix}").get("rtol", DEFAULT_RTOL)
    box_limit *= np.abs(want_boxes).max()
    score_limit = golden.tolerance(f"out.scores{suffix}").get("rtol", DEFAULT_RTOL)
    score_limit *= np.abs(want_scores).max()

    pairs: list[tuple[int, int]] = []
    free = set(range(len(boxes)))
    for index in range(len(want_boxes)):
        for own in sorted(free):
            if (
                classes[own] == want_classes[index]
                and np.abs(boxes[own] - want_boxes[index]).max() <= box_limit
                and abs(scores[own] - want_scores[index]) <= score_limit
            ):
                pairs.append((own, index))
                free.discard(own)
                break
    allowed = golden.tolerance(f"out.boxes{suffix}").get("rows", 0.0) * len(want_boxes)
    alone = len(want_boxes) - len(pairs)
    assert alone <= allowed, f"{golden.name}: {alone} of {len(want_boxes)} detections are absent"
    assert len(free) <= allowed, f"{golden.name}: {len(free)} detections are not recorded"
    return pairs


def check_masks(
    golden: Golden, masks: np.ndarray, pairs: list[tuple[int, int]], name: str = "masks"
) -> None:
    """Asserts that masks of paired detections agree, as far as they are recorded."""
    want = golden.output(name)
    pairs = [pair for pair in pairs if pair[1] < len(want)]
    assert pairs, f"{golden.name}: no recorded mask has a partner"
    ours = np.stack([masks[own] for own, _ in pairs])
    theirs = np.stack([want[index] for _, index in pairs])
    limits = golden.tolerance(f"out.{name}")
    if want.dtype == bool:
        assert ours.dtype == bool
        assert (ours != theirs).mean() <= limits.get("frac", 0.0)
    else:
        error = np.abs(ours - theirs).max()
        assert error <= limits.get("rtol", DEFAULT_RTOL) * np.abs(theirs).max()


def check_panoptic(
    golden: Golden, panoptic_seg: np.ndarray, segments: list[dict[str, object]]
) -> None:
    """Asserts that a map and its segments agree with the recorded ones but for the numbering."""
    want_map, want_segments = golden.output("panoptic_seg"), golden.json("segments_info")
    assert panoptic_seg.dtype == want_map.dtype
    assert panoptic_seg.shape == want_map.shape
    pairs, counts = np.unique(
        np.stack([panoptic_seg.ravel(), want_map.ravel()]), axis=1, return_counts=True
    )
    partner: dict[int, int] = {}
    for column in np.argsort(-counts, kind="stable"):
        own, index = (int(x) for x in pairs[:, column])
        if own not in partner and index not in partner.values():
            partner[own] = index
    renamed = np.vectorize(lambda x: partner.get(int(x), -1))(panoptic_seg)
    wrong = (renamed != want_map).mean()
    assert wrong <= golden.tolerance("out.panoptic_seg").get("frac", 0.0)

    rtol = golden.tolerance("json.segments_info").get("rtol", DEFAULT_RTOL)
    by_id = {segment["id"]: segment for segment in want_segments}
    unmatched = abs(len(segments) - len(want_segments))
    for segment in segments:
        want = by_id.get(partner.get(int(str(segment["id"])), -1))
        if want is None:
            unmatched += 1
            continue
        # Ids and indices only number; all else tells of the segment.
        numbering = ("id", "instance_id")
        check_json(
            f"{golden.name}.segment",
            {k: v for k, v in segment.items() if k not in numbering},
            {k: v for k, v in want.items() if k not in numbering},
            rtol,
        )
    assert unmatched <= golden.tolerance("out.boxes").get("rows", 0.0) * len(want_segments)
