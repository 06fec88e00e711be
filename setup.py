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


# What `dev` needs beside the tools of the tests: the extras of the quick tests.
# The others (`arrow`, `beam`, `tune`, ...) are large; their tests skip.
TESTED = (
    "zh", "serving", "seq2seq", "retrieval", "documents", "litert", "onnx",
)  # fmt: skip
EXTRAS = {
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
        "protobuf>=4.21",
        "prometheus-client>=0.20",
        # serving/server/connections.py extends uvicorn's protocol on h11,
        # which is no public interface: newer ones are tried first.
        "h11>=0.14,<0.17",
        "starlette>=0.40,<2",
        "uvicorn>=0.30,<0.55",
    ],
    "seq2seq": ["sacrebleu>=2.4", "rouge-score>=0.1.2"],
    "retrieval": ["bm25s>=0.3", "pystemmer>=2.2"],
    "documents": [
        "beautifulsoup4>=4.12",
        "charset-normalizer>=3.1",
        "pypdf>=4",
        "python-docx>=1.1",
    ],
    "litert": ["ai-edge-litert>=2.0"],
    "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
    "docs": [
        "ipykernel>=6.29",  # with nbclient and nbformat, runs the notebooks
        "mkdocs>=1.6,<2",
        "mkdocs-material>=9.5,<10",
        "mkdocstrings[python]>=0.27",
        "nbclient>=0.10",
        "nbformat>=5.10",
        "ruff>=0.6",  # formats the signatures
    ],
}
EXTRAS["dev"] = sorted(
    {
        "axe-playwright-python>=0.1.8",  # brings axe-core, MPL-2.0
        "hypothesis>=6.100",
        "mypy>=1.11",
        "playwright>=1.50",
        "pytest>=8",
        "pytest-xdist>=3.5",
        "ruff>=0.6",
        "safetensors>=0.4.3",  # its own reader, to compare ours with
        "types-PyYAML",
        *(package for extra in TESTED for package in EXTRAS[extra]),
    }
)

setuptools.setup(
    name="electra-tf",
    version=version(),
    description="ELECTRA for TensorFlow and Keras 3: pre-training, "
    "fine-tuning, conversion and serving",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The electra_tf maintainers",
    license="Apache-2.0",
    license_files=["LICENSE"],
    project_urls={
        "Paper": "https://arxiv.org/abs/2003.10555",
        "Original implementation": "https://github.com/google-research/electra",
    },
    keywords="ELECTRA, BERT, pre-training, fine-tuning, NLP, TensorFlow, Keras",
    python_requires=">=3.10,<3.14",
    packages=setuptools.find_packages(include=["electra_tf", "electra_tf.*"]),
    package_data={
        "electra_tf": [
            "py.typed",
            "sample_text/*.txt",
            "sample_text/*.md",
            "sample_tasks/*/*.tsv",
            "sample_tasks/*/*.md",
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
        # 2.21.0 cannot be imported on Linux: its ICU has no data.
        "tensorflow-text>=2.20,!=2.21.0,<2.22",
        "keras>=3.10,<4",
        "keras-hub>=0.21",
        # Nothing imports it: it is KerasHub under its former name, and the
        # owner of this project asks for it, for programs that import that.
        # From 0.26 on it says that it runs on Python 3.10, where the
        # keras-hub that it pins does not: pip tries one after the other.
        "keras-nlp>=0.21,<0.26; python_version < '3.11'",
        "keras-nlp>=0.21; python_version >= '3.11'",
        "tensorflow-datasets>=4.9.9",
        "importlib_resources",  # tensorflow-datasets uses it undeclared
        # Of tensorflow-datasets, with extras; named so that pip 23.0, which
        # comes with Python 3.10, finds versions of everything that fit.
        "etils<1.14; python_version < '3.11'",
        "absl-py>=2.0",
        "ftfy>=6.1",
        "h5py>=3.10",
        "matplotlib>=3.8",
        "ml-dtypes>=0.4",
        "numpy>=1.26",
        "pyyaml>=6.0",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "seqeval>=1.2.2",
        "tokenizers>=0.20",
        "zstandard>=0.22",
    ],
    extras_require=EXTRAS,
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
)
