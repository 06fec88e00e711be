"""The distribution `electra-tf`: `pip install .` or `pip install -e .[dev]`."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).resolve().parent


def version() -> str:
    """The `__version__` line of the package, read without importing it."""
    text = (ROOT / "electra_tf" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise RuntimeError("electra_tf/__init__.py names no __version__")
    return found.group(1)


setuptools.setup(
    name="electra-tf",
    version=version(),
    description="ELECTRA pre-training for TensorFlow and Keras 3",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    packages=setuptools.find_packages(include=["electra_tf", "electra_tf.*"]),
    package_data={
        "electra_tf": [
            "py.typed",
            "sample_text/*.txt",
            "sample_text/*.md",
            "exporting/examples.yaml",
            "serving/page/*",
            "shipped_models/*/*",
            "text/stop_word_lists/*.txt",
        ]
    },
    entry_points={"console_scripts": ["electra-tf = electra_tf.cli.app:entry"]},
    install_requires=[
        # Each tensorflow-text asks for the tensorflow of its own minor
        # version, so the two ranges are enough to keep the pair together.
        "tensorflow>=2.20,<2.22",
        "tensorflow-text>=2.20,<2.22",
        "keras>=3.10,<4",
        "keras-nlp>=0.21",
        "tensorflow-datasets>=4.9.9",
        "importlib_resources",  # tensorflow-datasets uses it undeclared
        "absl-py>=2.0",
        "ftfy>=6.1",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "pyyaml>=6.0",
        "safetensors>=0.4.3",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "seqeval>=1.2.2",
        "tokenizers>=0.20",
        "zstandard>=0.22",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.22"],
        "arrow": ["pyarrow>=14"],
        "beam": ["apache-beam>=2.60"],
        "hf": ["huggingface_hub>=0.24"],
        "kaggle": ["kagglehub>=0.3"],
        "mlflow": ["mlflow>=2.14"],
        "wandb": ["wandb>=0.21"],
        "tune": ["optuna>=4.0"],
        "zh": ["jieba>=0.42.1"],
        "serving": [
            "tensorflow-serving-api>=2.19",
            "grpcio>=1.60",
            "prometheus-client>=0.20",
            "starlette>=0.40",
            "uvicorn>=0.30",
        ],
        "seq2seq": ["sacrebleu>=2.4", "rouge-score>=0.1.2"],
        "retrieval": ["bm25s>=0.3", "pystemmer>=2.2"],
        "documents": [
            "beautifulsoup4>=4.12",
            "charset-normalizer>=3.1",
            "pypdf>=4",
            "python-docx>=1.1",
        ],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
        "dev": [
            "axe-playwright-python>=0.1.8",  # brings axe-core, MPL-2.0
            "beautifulsoup4>=4.12",
            "bm25s>=0.3",
            "hypothesis>=6.100",
            "jieba>=0.42.1",
            "mypy>=1.11",
            "onnx>=1.16",
            "onnxruntime>=1.18",
            "playwright>=1.50",
            "prometheus-client>=0.20",
            "psutil>=5.9",
            "pypdf>=4",
            "pystemmer>=2.2",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "python-docx>=1.1",
            "rouge-score>=0.1.2",
            "ruff>=0.6",
            "sacrebleu>=2.4",
            "starlette>=0.40",
            "tensorflow-serving-api>=2.19",
            "types-PyYAML",
            "uvicorn>=0.30",
        ],
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
