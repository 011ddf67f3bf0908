"""Data sets by name in Detectron2's catalogs."""
