"""Tests of the package: public names, sample text, installation."""

import os
import pathlib
import re
import runpy
import subprocess
import sys

import pytest
import setuptools
from packaging import requirements

import electra_tf

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", electra_tf.__all__)
def test_public_names_are_there(name):
    assert getattr(electra_tf, name) is not None
    assert name in dir(electra_tf)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Generatr'"):
        _ = electra_tf.Generatr


def test_import_does_not_start_tensorflow():
    code = (
        "import sys, electra_tf; electra_tf.UserError; electra_tf.Vocab;"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_sample_text_is_plain_sentences_and_chapters(sample_text_dir):
    novels = sorted(sample_text_dir.glob("*.txt"))
    assert len(novels) == 3
    total = 0
    for novel in novels:
        text = novel.read_bytes().decode("ascii")
        total += len(text)
        assert text.endswith("\n") and not text.endswith("\n\n")
        assert "\n\n\n" not in text
        chapters = text.split("\n\n")
        assert len(chapters) >= 24
        assert min(chapter.count("\n") for chapter in chapters) > 15
        assert not re.search(
            r"gutenberg|^chapter [IVX\d]+$|  |_", text, re.I | re.M
        )
        for line in text.splitlines():
            assert line == line.strip()
    assert 1_000_000 < total < 2_100_000


def test_sample_text_names_source_and_licence(sample_text_dir):
    text = (sample_text_dir / "README.md").read_text(encoding="utf-8")
    assert "public domain" in text
    assert "Source" in text
    for novel in sample_text_dir.glob("*.txt"):
        assert novel.name in text


@pytest.fixture(scope="module")
def distribution():
    """The arguments that setup.py gives to setuptools."""
    arguments = {}
    original = setuptools.setup
    try:
        setuptools.setup = lambda **words: arguments.update(words)
        cwd = os.getcwd()
        os.chdir(ROOT)
        try:
            runpy.run_path(str(ROOT / "setup.py"))
        finally:
            os.chdir(cwd)
    finally:
        setuptools.setup = original
    return arguments


def test_distribution(distribution):
    assert distribution["name"] == "electra-tf"
    assert distribution["version"] == electra_tf.__version__
    assert "electra_tf.text" in distribution["packages"]
    assert not any(p.startswith("tests") for p in distribution["packages"])
    extras = {
        "gpu", "beam", "hf", "kaggle", "zh", "serving", "seq2seq",
        "retrieval", "documents", "litert", "onnx", "arrow", "tune", "mlflow",
        "wandb", "docs", "dev",
    }  # fmt: skip
    assert set(distribution["extras_require"]) == extras


# Maps a module to its package, where the names differ.
PACKAGES = {
    "absl": "absl-py", "ai_edge_litert": "ai-edge-litert",
    "apache_beam": "apache-beam", "bs4": "beautifulsoup4",
    "google": "protobuf", "grpc": "grpcio", "keras_hub": "keras-hub",
    "ml_dtypes": "ml-dtypes", "prometheus_client": "prometheus-client",
    "rouge_score": "rouge-score", "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
    "tensorflow_serving": "tensorflow-serving-api",
    "tensorflow_text": "tensorflow-text", "yaml": "pyyaml",
}  # fmt: skip
# Optional modules, which are imported by a name in a string.
BY_NAME = {
    "Stemmer": "pystemmer", "bm25s": "bm25s", "docx": "python-docx",
    "charset_normalizer": "charset-normalizer", "onnx": "onnx",
    "onnxruntime": "onnxruntime", "pypdf": "pypdf", "sacrebleu": "sacrebleu",
}  # fmt: skip
# Not imported; setup.py says why each is there.
UNIMPORTED = {"etils", "importlib_resources", "keras-nlp"}


def names(requirements):
    return {re.match(r"[\w.-]+", each)[0] for each in requirements}


def test_what_is_imported_is_what_is_required(distribution):
    imported = set()
    sources = [
        path.read_text("utf-8") for path in (ROOT / "electra_tf").rglob("*.py")
    ]
    for text in sources:
        # `from x import` and `import x`, not sentences of docstrings.
        imported |= set(
            re.findall(r"^ *from (\w+)[\w.]* import ", text, re.M)
            + re.findall(r"^ *import (\w+)[\w.]*(?: as \w+)?$", text, re.M)
        )
    modules = imported - {"electra_tf"} - sys.stdlib_module_names
    needed = {PACKAGES.get(name, name) for name in modules}
    for module, package in BY_NAME.items():
        assert any(f'"{module}"' in text for text in sources), module
        needed.add(package)
    extras = distribution["extras_require"]
    required = names(distribution["install_requires"]).union(
        *(names(extras[each]) for each in extras if each not in ("dev", "docs"))
    )
    assert required - needed == UNIMPORTED
    assert needed - required == set()


@pytest.mark.parametrize(
    ("python", "allowed", "refused"),
    # keras-nlp 0.26.0 to 0.32.0 claim to support Python 3.10, but pin a
    # keras-hub that needs 3.11.
    [("3.10", "0.25.1", "0.26.0"), ("3.11", "0.32.0", "0.20.0")],
)
def test_keras_nlp_is_one_that_can_be_installed(
    distribution, python, allowed, refused
):
    found = [
        requirement.specifier
        for requirement in map(
            requirements.Requirement, distribution["install_requires"]
        )
        if requirement.name == "keras-nlp"
        and requirement.marker.evaluate({"python_version": python})
    ]
    assert len(found) == 1
    assert allowed in found[0] and refused not in found[0]


def test_what_is_extended_has_a_bound(distribution):
    bounded = {"h11", "starlette", "uvicorn"}
    for each in distribution["extras_require"]["serving"]:
        if re.match(r"[\w-]+", each)[0] in bounded:
            assert ",<" in each


def test_dev_has_what_the_tests_use(distribution):
    extras = distribution["extras_require"]
    for extra in (
        "zh", "serving", "seq2seq", "retrieval", "documents", "litert", "onnx",
    ):  # fmt: skip
        assert set(extras[extra]) <= set(extras["dev"])


def test_the_citation_names_the_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {electra_tf.__version__}\n" in text


def test_the_workflow_has_every_python(distribution):
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
    for line in distribution["classifiers"]:
        found = re.search(r":: (3\.\d+)$", line)
        assert found is None or f'"{found[1]}"' in text


def test_the_source_distribution_has_the_files_that_pages_name():
    text = (ROOT / "MANIFEST.in").read_text("utf-8")
    for folder in ("configs", "docs", "examples", "tools", "tests"):
        assert f"graft {folder}\n" in text
    for line in re.findall(r"^include (.*)", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split())


def test_every_package_and_text_file_is_installed(distribution):
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "electra_tf").rglob("*.py")
    }
    assert folders == set(distribution["packages"])
    found = set()
    for pattern in distribution["package_data"]["electra_tf"]:
        found |= set((ROOT / "electra_tf").glob(pattern))
    others = {
        path
        for path in (ROOT / "electra_tf").rglob("*.*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert found == others


def test_labelled_sentences_are_balanced_and_apart():
    folder = ROOT / "electra_tf" / "sample_tasks" / "authors"
    seen = {}
    for name, count in (("train", 600), ("dev", 200)):
        lines = (folder / f"{name}.tsv").read_text("utf-8").splitlines()
        assert lines[0] == "text\tauthor"
        rows = [line.split("\t") for line in lines[1:]]
        authors = [author for _, author in rows]
        assert {a: authors.count(a) for a in authors} == dict.fromkeys(
            ("Austen", "Doyle", "Wells"), count
        )
        seen[name] = {text for text, _ in rows}
        assert len(seen[name]) == len(rows)
    assert not seen["train"] & seen["dev"]
    about = (folder / "README.md").read_text("utf-8")
    assert "public domain" in about


def test_changelog_names_the_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {electra_tf.__version__}" in text


def test_ci_script_can_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
