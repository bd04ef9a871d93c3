"""Keyslice: from labels on a few slices of a CT volume to labels on every slice."""

from pathlib import Path

from setuptools import find_packages, setup

ROOMS = (
    "keyslice",
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
        "keyslice": ["py.typed", "napari_plugin/napari.yaml"],
        "propagation_module": ["weights/*", "py.typed"],
        "reference_module": ["weights/*", "py.typed"],
        "tools": ["annotate/page/**", "batch/page/*", "py.typed"],
        # Whose types the interface gives out.
        **{room: ["py.typed"] for room in ("volumes", "networks", "baseline3d")},
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
        "connected-components-3d",
        "matplotlib",
        "psutil",
        "tensorboard",
        "fastapi",
        "uvicorn",
        "python-multipart",
    ],
    extras_require={
        "dicom": ["highdicom>=0.26", "pydicom>=3.0"],
        "cluster": ["distributed>=2025.9", "cryptography", "dask-jobqueue>=0.9"],
        "kubernetes": ["dask-kubernetes>=2025.4"],
        "benchmark": ["itk-morphologicalcontourinterpolation"],
        "napari": ["napari[pyqt6]>=0.5"],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.27"],
        "test": [
            "pytest>=7.4",
            "pytest-xdist>=3.6",
            "hypothesis",
            "ruff",
            "mypy",
            "types-PyYAML",
            "types-psutil",
            "httpx",
            "playwright",
            "requests",  # of MONAI Label's client, which `make` installs without what else it asks for
        ],
    },
    entry_points={
        "console_scripts": ["keyslice = tools.cli:main"],
        "napari.manifest": ["keyslice = keyslice.napari_plugin:napari.yaml"],
    },
    classifiers=["Framework :: napari"],
)
