"""Tests that recipes refuse wrong arguments and suggest right ones."""

import importlib
import inspect
import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import electra_tf
from electra_tf.cli import app
from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.recipes import evaluate, spread
from electra_tf.recipes.arguments import checked


@checked
def recipe(
    text: str,
    *,
    several: str | Sequence[str] = "",
    names: Sequence[str] = (),
    count: Annotated[int, Setting(at_least=1)] = 1,
    maybe: int | None = None,
    rate: float = 0.5,
    sure: bool = False,
    mode: Literal["a", "b"] = "a",
    anything: Mapping[str, Any] | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
) -> dict[str, Any]:
    return locals()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": ["x"]}, r"text: expected a text, got \['x'\]"),
        ({"text": None}, "text: expected a text, got None"),
        ({"several": 3}, "several: expected a text or a list of texts, got 3"),
        ({"names": [3]}, r"names: expected a list of texts, got \[3\]"),
        ({"count": "3"}, "count: expected a whole number, got '3'"),
        ({"count": True}, "count: expected a whole number, got True"),
        ({"count": 0}, "--count=0: expected at least 1"),
        ({"maybe": 1.5}, "maybe: expected a whole number, got 1.5"),
        ({"rate": "1e-3"}, "rate: expected a number, got '1e-3'"),
        ({"sure": "false"}, "sure: expected true or false, got 'false'"),
        ({"mode": "c"}, "--mode=c: expected one of a, b"),
    ],
)
def test_a_wrong_value_is_reported(given, message):
    with pytest.raises(UserError, match=message):
        recipe(**{"text": "x", **given})


def test_right_values_pass_as_they_are():
    given = {
        "text": "x", "several": ["a"], "names": ("one",), "count": np.int64(2),
        "maybe": None, "rate": 1, "sure": np.bool_(True), "mode": "b",
        "anything": {"a": 1}, "overrides": {"train.seed": 1},
    }  # fmt: skip
    assert recipe(**given) == given


def test_numbers_of_numpy_are_python_s():
    given = {
        "count": np.int64(2), "maybe": np.uint8(3), "rate": np.float32(0.5),
        "sure": np.bool_(True),
    }  # fmt: skip
    found = recipe("x", **given)
    assert {type(found[name]) for name in given} == {int, float, bool}
    assert {name: found[name] for name in given} == given
    with pytest.raises(UserError, match="--count=0: expected at least 1"):
        recipe("x", count=np.int64(0))


def test_one_text_is_a_list_of_one_and_not_of_its_letters():
    assert recipe("x", names="one")["names"] == ("one",)
    assert recipe("x", names=pathlib.Path("one"))["names"] == ("one",)
    assert recipe("x", several="one, two")["several"] == "one, two"


def test_a_path_becomes_its_text():
    assert recipe(pathlib.Path("a", "b"))["text"] == str(pathlib.Path("a/b"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"txt": "x"}, r"recipe\(\): .*; did you mean 'text'\?"),
        ({"text": "x", "cuont": 1}, "'cuont'; did you mean 'count'"),
        ({"text": "x", "zzzz": 1}, 'overrides={"section.key": value}'),
        ({}, r"recipe\(\): missing a required argument: 'text'"),
    ],
)
def test_a_wrong_call_names_the_recipe_and_the_cure(given, message):
    with pytest.raises(TypeError, match=message):
        recipe(**given)


@pytest.mark.parametrize("name", ["finetune", "predict", "evaluate"])
def test_recipes_of_finetuned_models_are_checked(name):
    with pytest.raises(UserError, match=r"expected a (whole )?number"):
        given = {"finetune": ["out"], "predict": ["m", "i", "o"]}
        wrong = {"predict": {"batch_size": "8"}}
        getattr(electra_tf, name)(
            *given.get(name, ["m"]), **wrong.get(name, {"join_seconds": "8"})
        )


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setattr(
        app.metadata,
        "requires",
        lambda name: [
            "numpy>=1",
            'uvicorn>=0.30; extra == "dev"',
            'uvicorn>=0.30; extra == "serving"',
        ],
    )
    found = app._how_to_install("uvicorn")
    assert found == "pip install 'electra-tf[serving]'"
    assert "extras" in app._how_to_install("numpy")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--learning_rate=1", "the setting is --set=train.learning_rate=VALUE"),
        ("--train.seed=1", "the setting is --set=train.seed=VALUE"),
    ],
)
def test_a_setting_given_as_a_flag_is_reported(capsys, flag, message):
    assert app.run(["pretrain", "--data=x", "--output=y", flag]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    ["build_data", "build_vocab", "embed", "evaluate", "predict", "score"],
)
def test_flags_of_beam_alone_are_refused_without_it(name):
    module = importlib.import_module(f"electra_tf.recipes.{name}")
    recipe = getattr(module, name)
    signature = inspect.signature(recipe)
    needed = {
        name: "x"
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty
    }
    for name, default in spread.DEFAULTS.items():
        known = signature.parameters.get(name)
        if known is None or known.default != default:
            continue  # build_data uses --num_workers by itself
        value = default + 1 if isinstance(default, int) else "--x=y"
        message = f"--{name}={value}: only with --runner=beam"
        with pytest.raises(UserError, match=message):
            recipe(**needed, **{name: value})


def test_a_split_without_labels_is_said_to_have_no_scores():
    scores = {"validation": {"accuracy": 50.0}, "test": {}}
    found = evaluate.Evaluation(scores, "classification", None, None)
    assert str(found).splitlines() == [
        "validation  accuracy     50.0000",
        "test: no scores, as its examples have no labels",
    ]
