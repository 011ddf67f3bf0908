"""What kind of model a config names, one's own extensions of known models included."""

from __future__ import annotations

from detectron2.config import CfgNode


def is_kind(cfg: CfgNode, *words: str) -> bool:
    """Does ``MODEL.META_ARCHITECTURE``, or a class that it extends, have a word in its name?"""
    from detectron2.modeling import META_ARCH_REGISTRY

    name = cfg.MODEL.META_ARCHITECTURE
    # Unknown names are told of later, where the model is built.
    bases = META_ARCH_REGISTRY.get(name).__mro__ if name in META_ARCH_REGISTRY else ()
    return any(word in one for one in (name, *(b.__name__ for b in bases)) for word in words)
