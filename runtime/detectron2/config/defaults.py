"""Every key of a configuration with its default.

Sizes are pixels, rates per iteration, thresholds intersection over union unless said otherwise.
"""

from __future__ import annotations

from detectron2.config.config import CURRENT_VERSION, CfgNode

_BOX_WEIGHTS = (1.0, 1.0, 1.0, 1.0)

_DATASETS = {
    # Names in DatasetCatalog; several are concatenated.
    "TRAIN": (),
    "TEST": (),
    # Files of precomputed proposals, one per data set, where MODEL.LOAD_PROPOSALS is set.
    "PROPOSAL_FILES_TRAIN": (),
    "PROPOSAL_FILES_TEST": (),
    # Best proposals per image that are kept of them.
    "PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 2000,
    "PRECOMPUTED_PROPOSAL_TOPK_TEST": 1000,
}

_DATALOADER = {
    "NUM_WORKERS": 4,  # processes per training process
    "ASPECT_RATIO_GROUPING": True,  # batches of only wide or only tall images: less padding
    "SAMPLER_TRAIN": "TrainingSampler",  # or RepeatFactorTrainingSampler, ...
    "REPEAT_THRESHOLD": 0.0,  # categories in a smaller fraction of the images are repeated
    "REPEAT_SQRT": True,  # repeat by the square root of threshold / frequency
    "FILTER_EMPTY_ANNOTATIONS": True,  # leave out training images without instances
}

_INPUT = {
    # The shorter side becomes one of MIN_SIZE_TRAIN ("choice"), or a value between two of them
    # ("range"), unless the longer side would exceed MAX_SIZE_TRAIN; 0 for the test: no resizing.
    "MIN_SIZE_TRAIN": (800,),
    "MIN_SIZE_TRAIN_SAMPLING": "choice",
    "MAX_SIZE_TRAIN": 1333,
    "MIN_SIZE_TEST": 800,
    "MAX_SIZE_TEST": 1333,
    "RANDOM_FLIP": "horizontal",  # or vertical, none
    # SIZE is (height, width): fractions of the image for the relative types, else pixels.
    "CROP": {"ENABLED": False, "TYPE": "relative_range", "SIZE": [0.9, 0.9]},
    "FORMAT": "BGR",  # channel order of the model's input, a mode of PIL or BGR, YUV-BT.601
    "MASK_FORMAT": "polygon",  # or bitmask
}

_BACKBONE = {
    "NAME": "build_resnet_backbone",
    "FREEZE_AT": 2,  # stages that are not trained: 1 is the stem, 2 the stem and res2
}

_FPN = {
    "IN_FEATURES": [],  # of the backbone, finest first
    "OUT_CHANNELS": 256,
    "NORM": "",
    "FUSE_TYPE": "sum",  # or avg
}

_PROPOSAL_GENERATOR = {
    "NAME": "RPN",  # or PrecomputedProposals
    "MIN_SIZE": 0,  # proposals with a shorter side are dropped
}

_ANCHOR_GENERATOR = {
    "NAME": "DefaultAnchorGenerator",
    # A list per feature map, or one list for all: square roots of areas, and height / width.
    "SIZES": [[32, 64, 128, 256, 512]],
    "ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "ANGLES": [[-90, 0, 90]],  # degrees, of rotated anchors
    "OFFSET": 0.0,  # of the first anchor's centre, in strides, in [0, 1)
}

_RPN = {
    "HEAD_NAME": "StandardRPNHead",
    "IN_FEATURES": ["res4"],
    "BOUNDARY_THRESH": -1,  # drop anchors so far outside the image; -1 keeps all
    # Anchors below the first threshold get the first label, and so on; -1 is ignored.
    "IOU_THRESHOLDS": [0.3, 0.7],
    "IOU_LABELS": [0, -1, 1],
    "BATCH_SIZE_PER_IMAGE": 256,  # anchors sampled for the loss
    "POSITIVE_FRACTION": 0.5,  # at most so many of them are foreground
    "BBOX_REG_LOSS_TYPE": "smooth_l1",  # or giou, diou, ciou
    "BBOX_REG_LOSS_WEIGHT": 1.0,
    "BBOX_REG_WEIGHTS": _BOX_WEIGHTS,  # scales of (dx, dy, dw, dh)
    "SMOOTH_L1_BETA": 0.0,  # 0 is the L1 loss
    "LOSS_WEIGHT": 1.0,
    # Proposals kept before suppression per feature map, and after it for all of them.
    "PRE_NMS_TOPK_TRAIN": 12000,
    "PRE_NMS_TOPK_TEST": 6000,
    "POST_NMS_TOPK_TRAIN": 2000,
    "POST_NMS_TOPK_TEST": 1000,
    "NMS_THRESH": 0.7,
    "CONV_DIMS": [-1],  # channels of the head's convolutions; -1 is as many as come in
}

_ROI_HEADS = {
    "NAME": "Res5ROIHeads",
    "NUM_CLASSES": 80,  # foreground classes
    "IN_FEATURES": ["res4"],
    "IOU_THRESHOLDS": [0.5],
    "IOU_LABELS": [0, 1],
    "BATCH_SIZE_PER_IMAGE": 512,  # proposals sampled for the loss
    "POSITIVE_FRACTION": 0.25,
    "PROPOSAL_APPEND_GT": True,  # train on the ground truth boxes as well
    "SCORE_THRESH_TEST": 0.05,
    "NMS_THRESH_TEST": 0.5,
}

_ROI_BOX_HEAD = {
    "NAME": "",  # FastRCNNConvFCHead, say
    "BBOX_REG_LOSS_TYPE": "smooth_l1",  # or giou, diou, ciou
    "BBOX_REG_LOSS_WEIGHT": 1.0,
    "BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
    "SMOOTH_L1_BETA": 0.0,
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,  # samples per bin and axis; 0 adapts to the box
    "POOLER_TYPE": "ROIAlignV2",
    "NUM_FC": 0,
    "FC_DIM": 1024,
    "NUM_CONV": 0,
    "CONV_DIM": 256,
    "NORM": "",
    "CLS_AGNOSTIC_BBOX_REG": False,  # one box per proposal, not one per class
    "TRAIN_ON_PRED_BOXES": False,  # the following heads see the refined boxes
    # Federated loss (arXiv:2103.07461, Sec. 5.2), with a sigmoid per class.
    "USE_FED_LOSS": False,
    "USE_SIGMOID_CE": False,
    "FED_LOSS_FREQ_WEIGHT_POWER": 0.5,
    "FED_LOSS_NUM_CLASSES": 50,
}

_ROI_BOX_CASCADE_HEAD = {
    # One entry per stage.
    "BBOX_REG_WEIGHTS": (
        (10.0, 10.0, 5.0, 5.0),
        (20.0, 20.0, 10.0, 10.0),
        (30.0, 30.0, 15.0, 15.0),
    ),
    "IOUS": (0.5, 0.6, 0.7),
}

_ROI_MASK_HEAD = {
    "NAME": "MaskRCNNConvUpsampleHead",
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,
    "POOLER_TYPE": "ROIAlignV2",
    "NUM_CONV": 0,
    "CONV_DIM": 256,
    "NORM": "",
    "CLS_AGNOSTIC_MASK": False,
}

# Read by no model here; the keys exist so that configurations which set them load.
_ROI_KEYPOINT_HEAD = {
    "NAME": "KRCNNConvDeconvUpsampleHead",
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,
    "POOLER_TYPE": "ROIAlignV2",
    "CONV_DIMS": (512,) * 8,
    "NUM_KEYPOINTS": 17,
    "MIN_KEYPOINTS_PER_IMAGE": 1,
    "NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS": True,
    "LOSS_WEIGHT": 1.0,
}

_SEM_SEG_HEAD = {
    "NAME": "SemSegFPNHead",
    "IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "IGNORE_VALUE": 255,  # label of pixels without a class
    "NUM_CLASSES": 54,
    "CONVS_DIM": 128,
    "COMMON_STRIDE": 4,  # of the map on which the features are summed
    "NORM": "GN",
    "LOSS_WEIGHT": 1.0,
}

_PANOPTIC_FPN = {
    "INSTANCE_LOSS_WEIGHT": 1.0,
    "COMBINE": {
        "ENABLED": True,  # merge instances and semantic map into a panoptic map
        "OVERLAP_THRESH": 0.5,  # an instance covered by better ones to this fraction is dropped
        "STUFF_AREA_LIMIT": 4096,  # smaller stuff segments become void
        "INSTANCES_CONFIDENCE_THRESH": 0.5,
    },
}

# Read by no model here; see the keypoint head.
_RETINANET = {
    "NUM_CLASSES": 80,
    "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "NUM_CONVS": 4,
    "NORM": "",
    "IOU_THRESHOLDS": [0.4, 0.5],
    "IOU_LABELS": [0, -1, 1],
    "PRIOR_PROB": 0.01,
    "FOCAL_LOSS_GAMMA": 2.0,
    "FOCAL_LOSS_ALPHA": 0.25,
    "BBOX_REG_LOSS_TYPE": "smooth_l1",
    "BBOX_REG_WEIGHTS": _BOX_WEIGHTS,
    "SMOOTH_L1_LOSS_BETA": 0.1,
    "SCORE_THRESH_TEST": 0.05,
    "TOPK_CANDIDATES_TEST": 1000,
    "NMS_THRESH_TEST": 0.5,
}

_RESNETS = {
    "DEPTH": 50,  # 18, 34, 50, 101 or 152
    "OUT_FEATURES": ["res4"],
    "NORM": "FrozenBN",
    # ResNeXt 32x8d: 32 groups of width 8.
    "NUM_GROUPS": 1,
    "WIDTH_PER_GROUP": 64,
    "STEM_OUT_CHANNELS": 64,
    "RES2_OUT_CHANNELS": 256,
    "STRIDE_IN_1X1": True,  # as in MSRA's weights; torchvision's stride in the 3x3 convolution
    "RES5_DILATION": 1,  # 2 keeps the stride of res5 at 16
    # Deformable convolutions in res2 to res5; modulated is version 2 (arXiv:1811.11168).
    "DEFORM_ON_PER_STAGE": [False, False, False, False],
    "DEFORM_MODULATED": False,
    "DEFORM_NUM_GROUPS": 1,
}

_MODEL = {
    "META_ARCHITECTURE": "GeneralizedRCNN",
    "DEVICE": "cuda",
    "WEIGHTS": "",  # checkpoint file or URL to start from
    "MASK_ON": False,
    "KEYPOINT_ON": False,
    "LOAD_PROPOSALS": False,  # use DATASETS.PROPOSAL_FILES_* instead of a proposal generator
    # Per channel in the order of INPUT.FORMAT, in the range [0, 255].
    "PIXEL_MEAN": [103.53, 116.28, 123.675],
    "PIXEL_STD": [1.0, 1.0, 1.0],  # 1 where the weights were trained so
    "BACKBONE": _BACKBONE,
    "RESNETS": _RESNETS,
    "FPN": _FPN,
    "PROPOSAL_GENERATOR": _PROPOSAL_GENERATOR,
    "ANCHOR_GENERATOR": _ANCHOR_GENERATOR,
    "RPN": _RPN,
    "ROI_HEADS": _ROI_HEADS,
    "ROI_BOX_HEAD": _ROI_BOX_HEAD,
    "ROI_BOX_CASCADE_HEAD": _ROI_BOX_CASCADE_HEAD,
    "ROI_MASK_HEAD": _ROI_MASK_HEAD,
    "ROI_KEYPOINT_HEAD": _ROI_KEYPOINT_HEAD,
    "SEM_SEG_HEAD": _SEM_SEG_HEAD,
    "PANOPTIC_FPN": _PANOPTIC_FPN,
    "RETINANET": _RETINANET,
}

_SOLVER = {
    "IMS_PER_BATCH": 16,  # over all processes
    "MAX_ITER": 40000,
    "CHECKPOINT_PERIOD": 5000,  # iterations
    "BASE_LR": 0.001,
    "MOMENTUM": 0.9,
    "NESTEROV": False,
    "WEIGHT_DECAY": 0.0001,
    "WEIGHT_DECAY_NORM": 0.0,  # of normalisation layers
    "WEIGHT_DECAY_BIAS": None,  # of biases; None: as the weights
    "BIAS_LR_FACTOR": 1.0,
    "LR_SCHEDULER_NAME": "WarmupMultiStepLR",  # or WarmupCosineLR, WarmupStepWithFixedGammaLR
    "STEPS": (30000,),  # iterations at which the rate is multiplied by GAMMA
    "GAMMA": 0.1,
    "NUM_DECAYS": 3,  # of WarmupStepWithFixedGammaLR, evenly spaced
    "BASE_LR_END": 0.0,  # last rate of WarmupCosineLR
    "WARMUP_METHOD": "linear",  # or constant
    "WARMUP_FACTOR": 0.001,  # of the rate at iteration 0
    "WARMUP_ITERS": 1000,
    "RESCALE_INTERVAL": False,  # shorten the warm-up with the run
    # Processes that the settings are meant for: rate, batch size and lengths are adapted to
    # another number; 0 leaves them alone.
    "REFERENCE_WORLD_SIZE": 0,
    "CLIP_GRADIENTS": {
        "ENABLED": False,
        "CLIP_TYPE": "value",  # or norm, full_model
        "CLIP_VALUE": 1.0,
        "NORM_TYPE": 2.0,
    },
    "AMP": {"ENABLED": False},  # mixed precision
}

_TEST = {
    "EVAL_PERIOD": 0,  # iterations; 0: after the training only
    "DETECTIONS_PER_IMAGE": 100,
    "EXPECTED_RESULTS": [],  # [data set, metric, value, tolerance] that the results must meet
    "KEYPOINT_OKS_SIGMAS": [],
    "AUG": {
        "ENABLED": False,
        "MIN_SIZES": (400, 500, 600, 700, 800, 900, 1000, 1100, 1200),
        "MAX_SIZE": 4000,
        "FLIP": True,
    },
    # Batch normalisation statistics recomputed over NUM_ITER batches before each evaluation.
    "PRECISE_BN": {"ENABLED": False, "NUM_ITER": 200},
}

_C = CfgNode(
    {
        "VERSION": CURRENT_VERSION,
        "MODEL": _MODEL,
        "INPUT": _INPUT,
        "DATASETS": _DATASETS,
        "DATALOADER": _DATALOADER,
        "SOLVER": _SOLVER,
        "TEST": _TEST,
        "OUTPUT_DIR": "./output",
        "SEED": -1,  # negative: a new one in each run
        "CUDNN_BENCHMARK": False,
        "FLOAT32_PRECISION": "",  # of matrix products on CUDA: highest, high, medium; "": as torch
        "VIS_PERIOD": 0,  # iterations between images of training inputs and proposals; 0: none
        "GLOBAL": {"HACK": 1.0},  # free for a quick experiment, through global_cfg
    }
)
