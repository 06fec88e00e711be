"""Tests that settings classes are described, and quick to import."""

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import electra_tf
from electra_tf import config
from electra_tf.errors import UserError
from electra_tf.finetuning import settings as finetune_settings
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.models import config as models
from electra_tf.pretraining import settings as pretraining

PACKAGE = pathlib.Path(electra_tf.__file__).parent


def _classes() -> list[tuple[str, str]]:
    """Returns (module, class) of each subclass of `Settings`."""
    found: dict[str, str] = {}
    bases: dict[str, tuple[str, set[str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(
            ["electra_tf", *path.relative_to(PACKAGE).with_suffix("").parts]
        )
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                names = {
                    ast.unparse(base).split(".")[-1] for base in node.bases
                }
                bases[node.name] = module, names
    known = {"Settings"}
    while True:
        more = {
            name
            for name, (_, names) in bases.items()
            if names & known and name not in known
        }
        if not more:
            break
        known |= more
    for name in known - {"Settings"}:
        found[name] = bases[name][0]
    return sorted((module, name) for name, module in found.items())


CLASSES = _classes()


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_every_field_is_described(module, name):
    cls = getattr(importlib.import_module(module), name)
    silent = [key.key for key in config.describe(cls) if not key.text]
    assert not silent, f"{name}: describe these, in a Setting"


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_defaults_are_allowed(module, name):
    cls = getattr(importlib.import_module(module), name)
    if all(key.default != "required" for key in config.describe(cls)):
        made = cls()
        assert config.from_dict(cls, config.to_dict(made)) == made


def test_settings_are_known_without_tensorflow():
    modules = sorted({module for module, _ in CLASSES})
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "heavy = {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("made", "values"),
    [
        (models.ModelConfig, {"initializer_range": -0.02}),
        (models.ModelConfig, {"layer_norm_epsilon": -1e-6}),
        (models.ModelConfig, {"match_heads": -1}),
        (pretraining.ObjectiveConfig, {"gen_weight": -1.0}),
        (pretraining.ObjectiveConfig, {"disc_weight": -50.0}),
    ],
)
def test_numbers_that_train_the_opposite_are_refused(made, values):
    ((name, number),) = values.items()
    with pytest.raises(UserError, match=f"{name}: expected at least 0, got"):
        made(**values)
    made(**{name: abs(number) if name != "match_heads" else 0})


@pytest.mark.parametrize(
    ("recipe", "settings", "excepted"),
    [
        (electra_tf.pretrain, PretrainSettings, {"data"}),
        (
            electra_tf.finetune,
            finetune_settings.settings_class("classification"),
            {"model"},
        ),
    ],
)
def test_sections_are_arguments_except_those_of_the_page(
    recipe, settings, excepted, tmp_path
):
    """As docs/settings.md says; the error of the others says what to do."""
    parameters = inspect.signature(recipe).parameters
    for section in (key.key for key in config.describe(settings)):
        section, dot, key = section.partition(".")
        if not dot:
            continue
        arguments = {"output": str(tmp_path / "run"), section: {key: None}}
        if section in excepted:
            with pytest.raises(UserError, match=rf"config={{\"{section}\": {{"):
                recipe(**arguments)
        else:
            assert "Mapping" in str(parameters[section].annotation)


def test_reference_page_is_of_today():
    import settings_reference

    found = settings_reference.PAGE.read_text(encoding="utf-8")
    assert found == settings_reference.page(), (
        "run python tools/settings_reference.py"
    )
