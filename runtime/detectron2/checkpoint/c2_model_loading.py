"""Matches weights to a model by their names; knows the names of Caffe2 and Detectron."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import torch
from tabulate import tabulate

Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*pairs: tuple[str, str]) -> Rules:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


# Applied one after the other.
_BASIC_RULES = _rules(
    # Caffe2's separator is "_"; the classifier of ImageNet models is called "pred".
    (r"_", "."),
    (r"^pred\.(?=[bw]$)", "linear."),
    # Parameters of convolutions, then of normalisation: scale, bias, mean, variance.
    (r"\.w$", ".weight"),
    (r"\.b$", ".bias"),
    (r"\.[bg]n\.s$", ".norm.weight"),
    (r"\.[bg]n\.bias$", ".norm.bias"),
    (r"\.bn\.(rm|running\.mean)$", ".norm.running_mean"),
    (r"\.bn\.(riv|running\.var)$", ".norm.running_var"),
    # The stem, and the branches of a residual block.
    (r"^(res\.(?=conv1\.norm\.))?conv1\.", "stem.conv1."),
    (r"\.branch1\.", ".shortcut."),
    (r"\.branch2a\.", ".conv1."),
    (r"\.branch2b\.", ".conv2."),
    (r"\.branch2c\.", ".conv3."),
)

_DETECTRON_RULES = _rules(
    # With an FPN the head's parameters are shared, and named after level 2.
    (r"^conv\.rpn(\.fpn2)?\.", "proposal_generator.rpn_head.conv."),
    (r"^rpn\.bbox\.pred(\.fpn2)?\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"^rpn\.cls\.logits(\.fpn2)?\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"^bbox\.pred\.", "bbox_pred."),
    (r"^cls\.score\.", "cls_score."),
    (r"^fc6\.", "box_head.fc1."),
    (r"^fc7\.", "box_head.fc2."),
    (r"^head\.conv", "box_head.conv"),
    (r"^fpn\.inner\.res(\d)\.\d+\.sum(\.lateral)?\.", r"fpn_lateral\1."),
    (r"^fpn\.res(\d)\.\d+\.sum\.", r"fpn_output\1."),
    (r"^\.\[mask\]\.fcn", "mask_head.mask_fcn"),
    (r"^conv5\.mask\.", "mask_head.deconv."),
    (r"^mask\.fcn\.logits\.", "mask_head.predictor."),
)

# Detectron's background class is the first one. Here classification has it last, and boxes and
# masks of the background are not predicted.
_BACKGROUND: tuple[tuple[str, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    ("bbox_pred.", lambda weight: weight[4:]),
    ("cls_score.", lambda weight: torch.cat([weight[1:], weight[:1]])),
    ("mask_head.predictor.", lambda weight: weight[1:]),
)


def _apply(rules: Rules, name: str) -> str:
    for pattern, replacement in rules:
        name = pattern.sub(replacement, name)
    return name


def convert_basic_c2_names(original_keys: Iterable[str]) -> list[str]:
    """Detectron2's names for those of a Caffe2 ResNet, in the same order."""
    return [_apply(_BASIC_RULES, name) for name in original_keys]


def convert_c2_detectron_names(
    weights: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Gives the weights of a Detectron model Detectron2's names and order of classes.

    Returns:
        The weights by their new names, and the old name of each new one.
    """
    logging.getLogger(__name__).info("Renaming Caffe2 weights ......")
    converted: dict[str, torch.Tensor] = {}
    old_names: dict[str, str] = {}
    for old in sorted(weights):
        new = _apply(_DETECTRON_RULES, _apply(_BASIC_RULES, old))
        if new in old_names:
            raise ValueError(f"The weights {old_names[new]!r} and {old!r} are both named {new!r}.")
        weight = weights[old]
        for prefix, reorder in _BACKGROUND:
            if new.startswith(prefix):
                weight = reorder(weight)
        converted[new], old_names[new] = weight, old
    return converted, old_names


def align_and_update_state_dicts(
    model_state_dict: Mapping[str, torch.Tensor],
    ckpt_state_dict: Mapping[str, torch.Tensor],
    c2_conversion: bool = True,
) -> dict[str, torch.Tensor]:
    """Matches weights to the parameters whose names end with theirs, at a ".".

    Several weights may fit a parameter: the longest name wins. Weights of another shape than the
    parameter's are not matched.

    Args:
        model_state_dict: the model's parameters by name.
        ckpt_state_dict: weights by name.
        c2_conversion: first convert Detectron's names.

    Returns:
        The matched weights by the model's names, then the others by their own.

    Raises:
        ValueError: one weight fits several parameters.
    """
    logger = logging.getLogger(__name__)
    if c2_conversion:
        weights, old_names = convert_c2_detectron_names(ckpt_state_dict)
    else:
        weights = dict(ckpt_state_dict)
        old_names = {name: name for name in weights}

    matched: dict[str, str] = {}  # the weight's name -> the parameter's
    for name in sorted(model_state_dict):
        source = _longest_ending(name, weights)
        if source is None:
            continue
        shape, source_shape = model_state_dict[name].shape, weights[source].shape
        if shape != source_shape:
            logger.warning(
                "%s is not loaded: its shape is %s in the checkpoint, but %s (%s) in the model.",
                old_names[source],
                tuple(source_shape),
                tuple(shape),
                name,
            )
            continue
        if source in matched:
            raise ValueError(
                "Cannot match one checkpoint key to multiple keys in the model: "
                f"{old_names[source]!r} fits {matched[source]!r} and {name!r}."
            )
        matched[source] = name

    unused = [source for source in weights if source not in matched]
    _log_matches(logger, matched, old_names, weights, unused)
    aligned = {name: weights[source] for source, name in matched.items()}
    return aligned | {source: weights[source] for source in unused}


def _longest_ending(name: str, candidates: Mapping[str, object]) -> str | None:
    """The longest of ``candidates`` that is ``name``, or its end after a "."."""
    ending = name
    while ending not in candidates:
        _, dot, ending = ending.partition(".")
        if not dot:
            return None
    return ending


def _log_matches(
    logger: logging.Logger,
    matched: Mapping[str, str],
    old_names: Mapping[str, str],
    weights: Mapping[str, torch.Tensor],
    unused: list[str],
) -> None:
    """Logs one row per module: its parameters, their names in the checkpoint, their shapes."""
    if not matched:
        logger.warning("No weights in checkpoint matched with model.")
        return
    modules: dict[str, list[str]] = defaultdict(list)
    for source, name in matched.items():
        modules[name.rpartition(".")[0]].append(source)
    rows = [
        (
            _common_name([matched[s] for s in sources], module and f"{module}."),
            _common_name([old_names[s] for s in sources]),
            " ".join(_shape_text(weights[s]) for s in sources),
        )
        for module, sources in modules.items()
    ]
    table = tabulate(
        rows, headers=["Names in Model", "Names in Checkpoint", "Shapes"], tablefmt="pipe"
    )
    logger.info("%d weights in the checkpoint match the model:\n%s", len(matched), table)
    if unused:
        table = tabulate(
            [(old_names[s], _shape_text(weights[s])) for s in unused],
            headers=["Names in Checkpoint", "Shapes"],
            tablefmt="pipe",
        )
        logger.info("%d weights in the checkpoint match nothing:\n%s", len(unused), table)


def _common_name(names: list[str], prefix: str | None = None) -> str:
    """``["a_b_s", "a_b_w"]`` -> ``"a_b_{s,w}"``; the common prefix is ``prefix``, or is found."""
    if len(names) == 1:
        return names[0]
    if prefix is None:
        prefix = names[0]
        while not all(name.startswith(prefix) for name in names):
            prefix = prefix[:-1]
    return prefix + "{" + ",".join(name[len(prefix) :] for name in names) + "}"


def _shape_text(weight: torch.Tensor) -> str:
    return "(" + ",".join(str(size) for size in weight.shape) + ")"
