"""Box predictor of Fast R-CNN (arXiv:1504.08083): class scores and box refinements per region.

Legend: N images, R regions of one image, B regions of all images, K classes (the background is
class K), D box coordinates. Deltas are (B, K * D), or (B, D) where all classes share a refinement.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, batched_nms, cat, cross_entropy
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage

from ..box_regression import Box2BoxTransform, box_regression_loss

__all__ = ["FastRCNNOutputLayers", "fast_rcnn_inference"]

logger = logging.getLogger(__name__)


def fast_rcnn_inference(
    boxes: list[Tensor],
    scores: list[Tensor],
    image_shapes: list[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[Tensor]]:
    """``fast_rcnn_inference_single_image`` for each image: the detections, the kept regions."""
    results = [
        fast_rcnn_inference_single_image(
            image_boxes, image_scores, shape, score_thresh, nms_thresh, topk_per_image
        )
        for image_boxes, image_scores, shape in zip(boxes, scores, image_shapes, strict=True)
    ]
    return [x[0] for x in results], [x[1] for x in results]


def fast_rcnn_inference_single_image(
    boxes: Tensor,
    scores: Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[Instances, Tensor]:
    """The best detections of one image, after non-maximum suppression within each class.

    Args:
        boxes: (R, K * 4) boxes per class, or (R, 4) shared by the classes; XYXY in pixels.
        scores: (R, K + 1) scores; the last column is the background.
        image_shape: Height and width; boxes are clipped to them.
        score_thresh: Only scores above it count.
        nms_thresh: A box that overlaps a better one of its class by more (IoU) is dropped.
        topk_per_image: Largest number of detections; negative for no limit.

    Returns:
        ``Instances`` with ``pred_boxes``, ``scores``, ``pred_classes``, best first, and for each
        the index of its region among those whose boxes and scores are finite.
    """
    finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores).all(dim=1)
    # Discarding by score leaves the shapes alone: no extra synchronisation where all is finite.
    foreground = scores[:, :-1]
    regions, classes = (finite[:, None] & (foreground > score_thresh)).nonzero(as_tuple=True)
    candidate_scores = foreground[regions, classes]

    per_class = boxes.unflatten(1, (boxes.shape[1] // 4, 4))
    clipped = Boxes(per_class[regions, classes if per_class.shape[1] > 1 else 0])
    clipped.clip(image_shape)

    keep = batched_nms(clipped.tensor, candidate_scores, classes, nms_thresh)
    if topk_per_image >= 0:
        keep = keep[:topk_per_image]
    result = Instances(image_shape)
    result.pred_boxes = clipped[keep]
    result.scores = candidate_scores[keep]
    result.pred_classes = classes[keep]
    return result, (finite.cumsum(0) - 1)[regions[keep]]


class _Regions(NamedTuple):
    """The labelled regions of all images, one row each."""

    boxes: Tensor  # (B, D) proposals
    gt_boxes: Tensor  # (B, D), of foreground rows alone meaningful
    gt_classes: Tensor  # (B,) int64 in [0, K]


def _gather_regions(proposals: list[Instances]) -> _Regions:
    boxes = cat([x.proposal_boxes.tensor for x in proposals])
    assert not boxes.requires_grad, "proposals must not carry a gradient"
    # Images without ground truth have only background regions: any box will do for them.
    gt_boxes = [(x.gt_boxes if x.has("gt_boxes") else x.proposal_boxes).tensor for x in proposals]
    return _Regions(boxes, cat(gt_boxes), cat([x.gt_classes for x in proposals]))


def _log_classification(logits: Tensor, gt_classes: Tensor) -> None:
    """Stores the share of right classes among all and foreground regions, and of missed regions."""
    total = gt_classes.numel()
    if total == 0:
        return
    background = logits.shape[1] - 1
    predicted = logits.argmax(dim=1)
    foreground = (gt_classes >= 0) & (gt_classes < background)
    right = predicted == gt_classes
    missed = foreground & (predicted == background)
    # One transfer from the device for all counts.
    num_right, num_foreground, num_right_foreground, num_missed = torch.stack(
        [right.sum(), foreground.sum(), (right & foreground).sum(), missed.sum()]
    ).tolist()
    storage = get_event_storage()
    storage.put_scalar("fast_rcnn/cls_accuracy", num_right / total)
    if num_foreground > 0:
        storage.put_scalar("fast_rcnn/fg_cls_accuracy", num_right_foreground / num_foreground)
        storage.put_scalar("fast_rcnn/false_negative", num_missed / num_foreground)


class FastRCNNOutputLayers(nn.Module):
    """Two linear layers, for class scores and box refinements, with losses and inference."""

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        box2box_transform: Box2BoxTransform,
        num_classes: int,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
        cls_agnostic_bbox_reg: bool = False,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        loss_weight: float | dict[str, float] = 1.0,
        use_fed_loss: bool = False,
        use_sigmoid_ce: bool = False,
        get_fed_loss_cls_weights: Callable[[], Tensor] | None = None,
        fed_loss_num_classes: int = 50,
    ) -> None:
        """Builds the two layers.

        Args:
            input_shape: Shape of the features of one region, or their number.
            box2box_transform: Encodes boxes as deltas.
            num_classes: K, without the background.
            test_score_thresh: Detections need a higher score.
            test_nms_thresh: IoU above which the worse of two boxes of one class is dropped.
            test_topk_per_image: Largest number of detections per image.
            cls_agnostic_bbox_reg: One box refinement for all classes.
            smooth_l1_beta: Where smooth L1 turns from quadratic to linear, in delta units.
            box_reg_loss_type: "smooth_l1" on deltas; "giou", "diou", "ciou" on boxes.
            loss_weight: One weight, or weights of ``loss_cls`` and ``loss_box_reg`` (1 if absent).
            use_fed_loss: Federated loss over a sample of the classes; needs ``use_sigmoid_ce``.
            use_sigmoid_ce: Independent binary scores instead of a softmax over the classes.
            get_fed_loss_cls_weights: Gives the (K,) sampling weights of the classes.
            fed_loss_num_classes: Number of classes that the federated loss looks at.
        """
        super().__init__()
        if isinstance(input_shape, int):
            input_shape = ShapeSpec(channels=input_shape)
        if isinstance(loss_weight, (int, float)):
            loss_weight = {"loss_cls": loss_weight, "loss_box_reg": loss_weight}
        assert input_shape.channels is not None
        features = input_shape.channels * (input_shape.width or 1) * (input_shape.height or 1)
        box_dim = len(box2box_transform.weights)

        self.num_classes = num_classes
        self.cls_score = nn.Linear(features, num_classes + 1)
        self.bbox_pred = nn.Linear(
            features, box_dim if cls_agnostic_bbox_reg else num_classes * box_dim
        )
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

        self.box2box_transform = box2box_transform
        self.smooth_l1_beta = smooth_l1_beta
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.box_reg_loss_type = box_reg_loss_type
        self.loss_weight = loss_weight
        self.use_sigmoid_ce = use_sigmoid_ce
        self.use_fed_loss = use_fed_loss
        self.fed_loss_num_classes = fed_loss_num_classes
        if use_fed_loss:
            self._register_fed_loss_weights(get_fed_loss_cls_weights)

    def _register_fed_loss_weights(self, get_weights: Callable[[], Tensor] | None) -> None:
        if not self.use_sigmoid_ce:
            raise AssertionError(
                "use_fed_loss needs use_sigmoid_ce (MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE)."
            )
        if get_weights is None:
            raise AssertionError("use_fed_loss needs get_fed_loss_cls_weights: weights per class.")
        weights = get_weights()
        if len(weights) != self.num_classes:
            raise AssertionError(
                f"There are {len(weights)} class weights for the federated loss, "
                f"but {self.num_classes} classes."
            )
        self.register_buffer("fed_loss_cls_weights", weights, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Reads ``MODEL.ROI_HEADS``, ``MODEL.ROI_BOX_HEAD`` and ``TEST``."""
        head, roi_heads = cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.ROI_HEADS
        ret = {
            "input_shape": input_shape,
            "box2box_transform": Box2BoxTransform(weights=head.BBOX_REG_WEIGHTS),
            "num_classes": roi_heads.NUM_CLASSES,
            "cls_agnostic_bbox_reg": head.CLS_AGNOSTIC_BBOX_REG,
            "smooth_l1_beta": head.SMOOTH_L1_BETA,
            "test_score_thresh": roi_heads.SCORE_THRESH_TEST,
            "test_nms_thresh": roi_heads.NMS_THRESH_TEST,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "box_reg_loss_type": head.BBOX_REG_LOSS_TYPE,
            "loss_weight": {"loss_box_reg": head.BBOX_REG_LOSS_WEIGHT},
            "use_fed_loss": head.USE_FED_LOSS,
            "use_sigmoid_ce": head.USE_SIGMOID_CE,
            "fed_loss_num_classes": head.FED_LOSS_NUM_CLASSES,
        }
        if head.USE_FED_LOSS:
            from detectron2.data.detection_utils import get_fed_loss_cls_weights

            ret["get_fed_loss_cls_weights"] = partial(
                get_fed_loss_cls_weights,
                dataset_names=cfg.DATASETS.TRAIN,
                freq_weight_power=head.FED_LOSS_FREQ_WEIGHT_POWER,
            )
        return ret

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, ...) region features to (B, K + 1) scores before softmax or sigmoid, and deltas."""
        x = x.flatten(start_dim=1)
        return self.cls_score(x), self.bbox_pred(x)

    def losses(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> dict[str, Tensor]:
        """The weighted ``loss_cls`` and ``loss_box_reg``, scalars.

        Args:
            predictions: Result of ``forward`` for the regions of all images.
            proposals: Per image ``proposal_boxes``, ``gt_classes`` and, unless the image has no
                ground truth, ``gt_boxes``.
        """
        if not proposals:
            raise IndexError("The losses need the regions of at least one image; proposals is [].")
        logits, deltas = predictions
        regions = _gather_regions(proposals)
        _log_classification(logits.detach(), regions.gt_classes)
        classification = self.sigmoid_cross_entropy_loss if self.use_sigmoid_ce else cross_entropy
        losses = {
            "loss_cls": classification(logits, regions.gt_classes),
            "loss_box_reg": self.box_reg_loss(
                regions.boxes, regions.gt_boxes, deltas, regions.gt_classes
            ),
        }
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def get_fed_loss_classes(
        self, gt_classes: Tensor, num_fed_loss_classes: int, num_classes: int, weight: Tensor | None
    ) -> Tensor:
        """The classes that the federated loss looks at (arXiv:1908.03195).

        Args:
            gt_classes: (B,) classes in [0, K]; each of them is taken.
            num_fed_loss_classes: Others are drawn at random until there are so many.
            num_classes: K; the background K is never drawn.
            weight: (K,) probabilities, up to a factor, of being drawn; None for equal ones.
        """
        present = gt_classes.unique()
        missing = num_fed_loss_classes - len(present)
        if missing <= 0:
            return present
        probabilities = gt_classes.new_zeros(num_classes + 1, dtype=torch.float32)
        probabilities[:num_classes] = 1 if weight is None else weight.float()
        probabilities[present] = 0
        return torch.cat([present, probabilities.multinomial(missing, replacement=False)])

    def sigmoid_cross_entropy_loss(self, pred_class_logits: Tensor, gt_classes: Tensor) -> Tensor:
        """Binary cross entropy, in nats: summed over classes, averaged over regions.

        Args:
            pred_class_logits: (B, K + 1) logits; the background's column has no effect.
            gt_classes: (B,) int64 in [0, K]; the background K is no class at all.
        """
        if pred_class_logits.numel() == 0:
            return pred_class_logits.sum()
        num_regions, num_classes = len(pred_class_logits), pred_class_logits.shape[1] - 1
        targets = F.one_hot(gt_classes, num_classes + 1)[:, :-1].to(pred_class_logits.dtype)
        loss = F.binary_cross_entropy_with_logits(
            pred_class_logits[:, :-1], targets, reduction="none"
        )
        if self.use_fed_loss:
            classes = self.get_fed_loss_classes(
                gt_classes, self.fed_loss_num_classes, num_classes, self.fed_loss_cls_weights
            )
            chosen = loss.new_zeros(num_classes + 1)
            chosen[classes] = 1
            loss = loss * chosen[:-1]
        return loss.sum() / num_regions

    def box_reg_loss(
        self, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor
    ) -> Tensor:
        """Regression loss of the foreground regions, summed, divided by the number of all regions.

        The divisor weighs each foreground region alike, however many there are in the batch.

        Args:
            proposal_boxes: (B, D) boxes that the deltas refine.
            gt_boxes: (B, D) matched boxes; those of background regions are not read.
            pred_deltas: (B, K * D) or (B, D).
            gt_classes: (B,) int64 in [0, K].
        """
        box_dim = proposal_boxes.shape[1]
        (rows,) = ((gt_classes >= 0) & (gt_classes < self.num_classes)).nonzero(as_tuple=True)
        if pred_deltas.shape[1] == box_dim:
            deltas = pred_deltas[rows]
        else:
            deltas = pred_deltas.view(-1, self.num_classes, box_dim)[rows, gt_classes[rows]]
        loss = box_regression_loss(
            self.box2box_transform,
            proposal_boxes[rows],
            deltas,
            gt_boxes[rows],
            loss_type=self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        return loss / max(gt_classes.numel(), 1)

    def inference(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """``fast_rcnn_inference`` with the thresholds of this predictor."""
        return fast_rcnn_inference(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [x.image_size for x in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )

    def predict_boxes_for_gt_classes(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> list[Tensor]:
        """Per image the (R, D) refined boxes of the ground-truth classes.

        Background regions get the box of the last class.
        """
        if not proposals:
            return []
        boxes = cat(self.predict_boxes(predictions, proposals))
        box_dim = proposals[0].proposal_boxes.tensor.shape[1]
        if boxes.shape[1] > box_dim:
            classes = cat([x.gt_classes for x in proposals]).clamp(0, self.num_classes - 1)
            rows = torch.arange(len(boxes), device=boxes.device)
            boxes = boxes.view(-1, self.num_classes, box_dim)[rows, classes]
        return list(boxes.split([len(x) for x in proposals]))

    def predict_boxes(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> list[Tensor]:
        """Per image the (R, K * D) or (R, D) refined boxes, XYXY in pixels, not clipped."""
        if not proposals:
            return []
        boxes = cat([x.proposal_boxes.tensor for x in proposals])
        refined = self.box2box_transform.apply_deltas(predictions[1], boxes)
        return list(refined.split([len(x) for x in proposals]))

    def predict_probs(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> list[Tensor]:
        """Per image the (R, K + 1) scores in [0, 1]."""
        logits = predictions[0]
        probs = logits.sigmoid() if self.use_sigmoid_ce else F.softmax(logits, dim=-1)
        return list(probs.split([len(x) for x in proposals]))
