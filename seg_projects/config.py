"""Every config key that `seg_projects` adds to Detectron2's defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detectron2.config import CfgNode


def add_seg_projects_config(cfg: CfgNode) -> None:
    """Adds our keys with their defaults to ``cfg``, in place."""
    # Folder that relative paths of declared data sets start from; "" means the environment
    # variable DETECTRON2_DATASETS, or ./datasets where that is not set.
    cfg.DATASETS.ROOT = ""
    # Whether the quick part of the data doctor looks at the data sets before the first iteration
    # and stops at errors: JSON files, which files exist, some of their sizes; seconds.
    cfg.DATASETS.CHECK = True
    # Data sets declared in the config alone, COCO panoptic format. Each entry is a dict with
    #   NAME            the name for DATASETS.TRAIN / DATASETS.TEST
    #   IMAGES          folder of the images
    #   PANOPTIC_JSON   COCO panoptic JSON; its `categories` give names, things and stuff
    #   PANOPTIC_MASKS  folder of the id PNGs
    #   INSTANCES_JSON  optional COCO instances JSON, the ground truth of AP; without it the
    #                   thing segments of the PNGs are
    #   IMAGE_IDS       optional list: only these images
    cfg.DATASETS.PANOPTIC = []
    # Data sets in the COCO instances format, declared likewise. Each entry is a dict with
    #   NAME            the name for DATASETS.TRAIN / DATASETS.TEST
    #   IMAGES          folder of the images
    #   INSTANCES_JSON  COCO instances JSON; its `categories` are the classes
    #   IMAGE_IDS       optional list: only these images
    # AP counts TEST.DETECTIONS_PER_IMAGE detections of an image and category, and at least 100.
    cfg.DATASETS.INSTANCES = []
    # Data sets of label maps, declared likewise. Each entry is a dict with
    #   NAME            the name for DATASETS.TRAIN / DATASETS.TEST
    #   IMAGES, LABELS  folders; an image and its label map have the same name, less the suffix
    #   CLASSES         list of the names of classes 0 to K - 1
    #   VALUE_MAP       optional {value in the file: class}; without it values are classes
    #   IGNORE_LABEL    optional value in the file of pixels that do not count (255)
    #   STEMS           optional list: only the files of these names, less the suffix; or a text
    #                   file of them, a line each
    #   SPACING         optional [row, column], the height and width of a pixel in millimetres, the
    #                   unit of surface distances (pixels, or TEST.SEMANTIC_METRICS's, without it)
    cfg.DATASETS.SEMANTIC = []
    # Data sets of a binary mask per class and image, declared likewise: a pixel may have several
    # classes or none, so MODEL.SEM_SEG_HEAD.LOSSES are sigmoid's. Each entry is a dict with
    #   NAME            the name for DATASETS.TRAIN / DATASETS.TEST
    #   IMAGES          folder of the images
    #   MASKS           folder of CLASS/NAME.png or NAME/CLASS.png, NAME being the image's, less the
    #                   suffix: 0, or 1 (255, 65535) where the class is; nowhere without a file
    #   CLASSES         list of the names of classes 0 to K - 1, as the folders or files are called
    #   IGNORE_LABEL    optional value in the masks of pixels that do not count for that class
    #   STEMS           as above
    cfg.DATASETS.CLASS_MASKS = []
    # Data sets of object masks of one class, declared likewise; they need INPUT.MASK_FORMAT
    # "bitmask". Each entry is a dict with
    #   NAME            the name for DATASETS.TRAIN / DATASETS.TEST
    #   MASKS           folder of IMAGE/images/* and IMAGE/masks/*, a PNG per object; with IMAGES,
    #                   folder of maps that number the objects, 0 being background
    #   IMAGES          optional folder of the images of numbered maps, of the same names
    #   CLASS           name of the class
    cfg.DATASETS.INSTANCE_MASKS = []

    # What semantic segmentation is measured by beyond pixels (mIoU, Dice, ...); an entry is a name
    # or [name, {option: value}]:
    #   boundary_f1   BF1, {tolerance: 0.0075}: contour pixels with a counterpart within that share
    #                 of the image's diagonal, of all images together and as a mean over images
    #   boundary_iou  BIoU, {width: 0.02}: IoU of bands of that width along the contours
    #   surface_distance  HD, HD95, ASSD, {spacing: [1, 1]}: distances between outlines, in pixels
    #                 or in the unit of the height and width of a pixel
    cfg.TEST.SEMANTIC_METRICS = []
    # Boundary PQ (BPQ) and boundary AP (BAP, arXiv:2103.16562) beside PQ and AP: how far from a
    # contour its boundary reaches, as a share of the image's diagonal; 0.02 is usual, 0.0 leaves
    # them out.
    cfg.TEST.BOUNDARY_SHARE = 0.0

    # What happens to a training image after Detectron2's crop, resize and flip, in this order; an
    # entry is [name] or [name, {option: value}]. Names are resize, large_scale_jitter (both take
    # the place of MIN_SIZE_TRAIN), crop, flip, rotation, quarter_turns, colour, grey, noise, blur,
    # cutout, copy_paste, albumentations; docs/augmentation.md has their options.
    cfg.INPUT.AUGMENTATIONS = []

    # "SGD" (Detectron2's), "ADAM" or "ADAMW"; all use SOLVER's learning rate and weight decay.
    cfg.SOLVER.OPTIMIZER = "SGD"
    # With SOLVER.AMP.ENABLED, Detectron2's key: "float16" (CUDA; the loss is scaled), "bfloat16"
    # (CUDA, or a CPU with AVX512_BF16, AMX or ARM's BF16), or "auto", float16 with CUDA and
    # bfloat16 on a CPU.
    cfg.SOLVER.AMP.PRECISION = "auto"

    # Transfer to other classes: True lets a training start from MODEL.WEIGHTS of another class
    # count; the layers that classify begin anew and are named, all others are loaded.
    cfg.MODEL.REPLACE_CLASSIFIER = False

    # The weighted sum that our semantic heads learn from (FCNHead, UNetHead, ..., SegFPNHead,
    # SegDeepLabV3Head, SegDeepLabV3PlusHead; not those of Detectron2's names); an entry is
    # [name, weight] or [name, weight, {option: value}], weight > 0. Names are those of LOSSES in
    # seg_projects/modeling/losses/weighted_sum.py: of one class per pixel (softmax) cross_entropy,
    # hard_pixel_cross_entropy, focal, dice, lovasz_softmax, boundary; of K independent questions
    # sigmoid_cross_entropy, sigmoid_focal, sigmoid_dice, lovasz_hinge, ...
    cfg.MODEL.SEM_SEG_HEAD.LOSSES = [["cross_entropy", 1.0]]
    # Channels of UNetHead's steps, from coarse to fine, one fewer than IN_FEATURES; [] takes those
    # of the skips. Of XceptionUNetHead's blocks, from coarse to fine; [] halves them each time.
    cfg.MODEL.SEM_SEG_HEAD.DECODER_CHANNELS = []
    # Deep supervision of any head in SegSemanticSegmentor: [name of a map, weight] of maps that are
    # also classified by themselves, with the losses above, in training alone; 0.4 is usual.
    cfg.MODEL.SEM_SEG_HEAD.AUXILIARY = []

    # build_unet_backbone: channels of the levels, whose maps are down0 (stride 1), down1 (2), ...
    # BACKBONE.FREEZE_AT, 2 unless a config says 0, stops that many of them from learning, of the
    # next backbone too; of ResNets, stem and stages.
    cfg.MODEL.UNET = type(cfg)()
    cfg.MODEL.UNET.CHANNELS = [64, 128, 256, 512, 1024]
    cfg.MODEL.UNET.NORM = "BN"
    # build_xception_unet_backbone: channels of the first convolution, whose map is down1 (stride
    # 2), and of the blocks, down2 (4), down3 (8), ...
    cfg.MODEL.XCEPTION_UNET = type(cfg)()
    cfg.MODEL.XCEPTION_UNET.CHANNELS = [32, 64, 128, 256]
    cfg.MODEL.XCEPTION_UNET.NORM = "BN"

    # ICNetHead: weights of the losses of its coarsest and of its next map; the last one's is 1.
    cfg.MODEL.ICNET = type(cfg)()
    cfg.MODEL.ICNET.GUIDE_WEIGHTS = [0.16, 0.4]

    # build_timm_backbone, build_timm_fpn_backbone: any model of timm (pip install timm) that has
    # feature maps, such as mobilenetv3_large_100, swin_tiny_patch4_window7_224,
    # vit_base_patch16_224. Maps are res1 (stride 2), res2 (4), ..., res5 (32); of a plain ViT
    # block0, block1, ... Weights come from MODEL.WEIGHTS, frozen stages from BACKBONE.FREEZE_AT.
    cfg.MODEL.TIMM = type(cfg)()
    # Images are padded to the sizes that it takes; some (BEiT, CoAtNet, LeViT) take one alone.
    cfg.MODEL.TIMM.NAME = "resnet50"
    # Numbers of timm's maps, from 0; [] takes its choice (a pyramid's all, a ViT's last blocks).
    cfg.MODEL.TIMM.OUT_INDICES = []
    cfg.MODEL.TIMM.OUTPUT_STRIDE = 32  # 8 or 16 dilates the last stages of models that can
    cfg.MODEL.TIMM.DROP_PATH_RATE = 0.0  # probability; 0 leaves timm's own
    # What BatchNorm becomes: BN, SyncBN, FrozenBN or GN; "" leaves the model as it is.
    cfg.MODEL.TIMM.NORM = ""

    # SegPanopticFPN: True learns the balance of its two branches, by the uncertainty of each, from
    # the fixed weights (INSTANCE_LOSS_WEIGHT, SEM_SEG_HEAD.LOSS_WEIGHT) on.
    cfg.MODEL.PANOPTIC_FPN.LEARN_BALANCE = False

    # SegSemanticSegmentor, inference: [height, width] in pixels of a window that slides over the
    # image, [] for the whole image at once; the least share of a window, in [0, 1), that the next
    # one covers too; windows that go through the network at once. TEST.AUG, Detectron2's, chooses
    # sizes and mirror images to average over; detectors, GeneralizedRCNN, are then evaluated a
    # second time, by Detectron2's GeneralizedRCNNWithTTA. Panoptic models have neither.
    cfg.MODEL.SLIDING_WINDOW = type(cfg)()
    cfg.MODEL.SLIDING_WINDOW.SIZE = []
    cfg.MODEL.SLIDING_WINDOW.OVERLAP = 0.25
    cfg.MODEL.SLIDING_WINDOW.BATCH_SIZE = 4

    # DeepLab's and Panoptic-DeepLab's keys; SOLVER.OPTIMIZER above is the one they know too.
    from seg_projects.deeplab_config import add_deeplab_keys, add_panoptic_deeplab_keys

    add_deeplab_keys(cfg)
    add_panoptic_deeplab_keys(cfg)
