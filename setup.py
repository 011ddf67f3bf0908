"""Installs ``seg_projects``; ``detectron2`` itself comes from ``./runtime`` or from its source."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="seg_projects",
    version="0.1.0",
    description="Panoptic, instance and semantic segmentation for Detectron2",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["seg_projects", "seg_projects.*"]),
    package_data={"seg_projects": ["py.typed", "visualization/*.html", "visualization/*.css"]},
    # Detectron2 is on no package index, so it cannot be a requirement here: importing
    # seg_projects without it says what to install.
    install_requires=[
        "torch>=2.10",
        "torchvision>=0.25",
        "numpy>=2",
        "fvcore>=0.1.5.post20221221",
        "pycocotools>=2.0.8",
        "opencv-python-headless",
        "Pillow>=10",
        "tqdm",
    ],
    extras_require={
        "test": [
            "pytest>=8",
            "hypothesis",
            "ruff==0.17.5",
            "mypy==2.4.1",
            "types-tabulate",
            "types-PyYAML",
            "pytest-xdist",
        ],
        "fast": ["numba", "faster-coco-eval"],
        "augment": ["albumentations>=2.0.8"],
        "models": ["timm>=1.0.31"],
    },
)
