"""Keyslice: from labels on a few slices of a CT volume to labels on every slice."""

from pathlib import Path

from setuptools import find_packages, setup

ROOMS = (
    "reference_module",
    "propagation_module",
    "cps",
    "networks",
    "tools",
    "configs",
    "volumes",
    "baseline3d",
)

setup(
    name="keyslice",
    version="0.1.0",
    description="Label a few slices of a CT volume, get every slice labelled.",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=[pattern for room in ROOMS for pattern in (room, f"{room}.*")]),
    package_data={
        "configs": ["**/*.yaml"],
        "propagation_module": ["weights/*"],
        "reference_module": ["weights/*"],
        "tools": ["annotate/page/**"],
    },
    install_requires=[
        "torch>=2.6",
        "torchvision",
        "timm",
        "segmentation-models-pytorch",
        "albumentations>=2.0.8",
        "opencv-python-headless",
        "SimpleITK",
        "monai",
        "lightning",
        "omegaconf",
        "typer",
        "rich",
        "safetensors",
        "scikit-image",
        "scipy",
        "matplotlib",
        "psutil",
        "tensorboard",
        "fastapi",
        "uvicorn",
    ],
    extras_require={
        "benchmark": ["itk-morphologicalcontourinterpolation"],
        "test": ["pytest>=7.4", "hypothesis", "ruff", "mypy", "types-PyYAML", "types-psutil", "httpx", "playwright"],
    },
    entry_points={"console_scripts": ["keyslice = tools.cli:main"]},
)
