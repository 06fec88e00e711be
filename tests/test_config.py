"""Tests settings from YAML and overrides, and how mistakes are reported."""

import dataclasses
import json
import math
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from electra_tf import config
from electra_tf.config import Setting
from electra_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Train:
    learning_rate: float = 5e-4
    steps: int = 1000
    schedule: Literal["linear", "constant"] = "linear"
    clip: float | None = 1.0
    resume: bool = True


@dataclasses.dataclass(frozen=True)
class Model:
    size: str = "small"
    layers: tuple[int, ...] = (1, 2)
    pair: tuple[int, str] = (1, "a")
    names: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Run:
    train: Train = Train()
    model: Model = Model()
    seed: int | str = 0
    extra: Model | None = None


@dataclasses.dataclass(frozen=True)
class Nested:
    form: Annotated[Literal["a"] | None, Setting("Form.")] | None = None
    parts: Annotated[tuple[Train, ...], Setting("Parts.")] = ()


@dataclasses.dataclass(frozen=True)
class Strict:
    data: str
    low: int = 0

    def __post_init__(self):
        if self.low < 0:
            raise ValueError(f"low must not be negative, got {self.low}")


def _write(tmp_path, text: str) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _message(path: str | None, *overrides: str, cls: type = Run) -> str:
    with pytest.raises(UserError) as caught:
        config.resolve(cls, path, overrides)
    return str(caught.value)


def test_no_file_gives_the_defaults():
    assert config.resolve(Run, None) == Run()


def test_empty_file_and_empty_section_give_the_defaults(tmp_path):
    assert config.resolve(Run, _write(tmp_path, "# nothing\n")) == Run()
    assert config.resolve(Run, _write(tmp_path, "train:\n")) == Run()


def test_file_then_overrides_in_order(tmp_path):
    path = _write(
        tmp_path,
        "train:\n  learning_rate: 1e-3\n  steps: 1e5\n  clip: null\n"
        "model: {size: base, layers: [3], pair: [4, b], names: {x: 1}}\n"
        "extra: {size: tiny}\n",
    )
    run = config.resolve(
        Run, path, ["train.steps=7", "train.steps=8", "train.resume=false"]
    )
    assert run.train == Train(1e-3, 8, "linear", None, False)
    assert run.model == Model("base", (3,), (4, "b"), {"x": 1.0})
    assert isinstance(run.model.names["x"], float)
    assert run.extra == Model("tiny")


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("train.learning_rate=1e-3", "train", "learning_rate", 1e-3),
        ("train.learning_rate=2", "train", "learning_rate", 2.0),
        ("train.learning_rate=.5", "train", "learning_rate", 0.5),
        ("train.steps=1e6", "train", "steps", 1_000_000),
        ("train.steps=1_000", "train", "steps", 1000),
        ("train.clip=none", "train", "clip", None),
        ("train.schedule=constant", "train", "schedule", "constant"),
        ("model.layers=[4, 5, 6]", "model", "layers", (4, 5, 6)),
        ("model.size='12'", "model", "size", "12"),
        ("model.size=a=b", "model", "size", "a=b"),
    ],
)
def test_override_values(override, section, name, value):
    found = getattr(
        getattr(config.resolve(Run, None, [override]), section), name
    )
    assert found == value
    assert type(found) is type(value)


def test_whole_section_can_be_overridden():
    run = config.resolve(Run, None, ["train={steps: 3}", "train.clip=2"])
    assert run.train == Train(steps=3, clip=2.0)


def test_unknown_key_names_line_key_and_nearest(tmp_path):
    path = _write(tmp_path, "train:\n  steps: 3\n  lerning_rate: 1.0\n")
    assert _message(path) == (
        f"{path}:3: unknown key 'train.lerning_rate'; "
        "did you mean 'train.learning_rate'?"
    )


def test_unknown_key_in_the_wrong_section_names_the_right_one(tmp_path):
    assert "did you mean 'train.learning_rate'?" in _message(
        _write(tmp_path, "learning_rate: 1.0\n")
    )


def test_unknown_key_of_another_section_names_that_section():
    assert "did you mean 'train.learning_rate'?" in _message(
        None, "model.learning_rate=1"
    )


def test_unknown_key_with_no_near_one_lists_the_known():
    text = _message(None, "qqq=1")
    assert "--set qqq=1" in text
    assert "known here: train, model, seed, extra" in text


def test_unknown_section_in_an_override():
    assert "did you mean 'train'?" in _message(None, "trian.steps=1")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "train.steps=many",
            "train.steps: expected a whole number, got 'many'",
        ),
        ("train.steps=1.5", "expected a whole number, got 1.5"),
        ("train.steps=true", "expected a whole number, got true"),
        ("train.learning_rate=fast", "expected a number, got 'fast'"),
        ("train.learning_rate=", "expected a number, got nothing"),
        ("train.resume=1", "expected true or false, got 1"),
        ("train.schedule=cosine", "one of 'linear', 'constant', got 'cosine'"),
        ("train.clip=[1]", "train.clip: expected a number, got [1]"),
        ("model.size=12", "expected text, got 12; put it in quotes"),
        ("model.layers=3", "expected a list, each a whole number, got 3"),
        ("model.layers=3,a", "got '3,a'; put it in brackets: [3,a]"),
        ("model.layers=[1, x]", "model.layers[1]: expected a whole number"),
        ("model.pair=[1]", "expected a list of a whole number, text, got [1]"),
        ("model.names.x=y", "model.names.x: expected a number, got 'y'"),
        ("seed=1.5", "seed: expected a whole number or text, got 1.5"),
        ("train=3", "train: expected a section of 'key: value', got 3"),
        ("train.steps", "expected section.key=value, got 'train.steps'"),
        ("=3", "expected section.key=value, got '=3'"),
        ("model.size='x", "is not a YAML value"),
    ],
)
def test_wrong_values_are_named(override, expected):
    assert expected in _message(None, override)


def test_override_below_a_plain_value(tmp_path):
    path = _write(tmp_path, "seed: 3\n")
    assert "'seed' is not a section" in _message(path, "seed.x=1")


def test_a_wrong_override_is_named(tmp_path):
    path = _write(tmp_path, "train:\n  steps: 3\n")
    text = _message(path, "train.steps=x")
    assert text.startswith("--set train.steps=x: train.steps: expected")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train: [\n", "not valid YAML"),
        ("- a\n- b\n", "expected 'key: value' lines"),
        ("just words\n", "expected 'key: value' lines"),
        ("seed: 1\nseed: 2\n", ":2: key 'seed' is given twice"),
        ("train:\n  steps: 1\n  steps: 2\n", ":3: key 'train.steps' is given"),
        ("train:\n  steps: x\n", ":2: train.steps: expected a whole number"),
    ],
)
def test_malformed_files_are_named(tmp_path, text, expected):
    path = _write(tmp_path, text)
    found = _message(path)
    assert found.startswith(path)
    assert expected in found


def test_missing_and_unreadable_files(tmp_path):
    assert "no such file" in _message(str(tmp_path / "absent.yaml"))
    assert "run the command in a clone" in _message("configs/absent.yaml")
    broken = tmp_path / "latin.yaml"
    broken.write_bytes(b"model: {size: caf\xe9}\n")
    assert "not UTF-8" in _message(str(broken))


def test_required_key_and_own_checks():
    assert "key 'data' is required" in _message(None, cls=Strict)
    text = _message(None, "data=x", "low=-1", cls=Strict)
    assert "low must not be negative, got -1" in text


def test_from_dict_names_its_origin():
    with pytest.raises(UserError, match=r"^a/config.json: unknown key 'sed'"):
        config.from_dict(Run, {"sed": 1}, where="a/config.json")


def test_to_dict_survives_json():
    run = Run(model=Model(layers=(5,), names={"a": 1.0}), extra=Model("b"))
    plain = json.loads(json.dumps(config.to_dict(run)))
    assert plain["model"]["layers"] == [5]
    assert config.from_dict(Run, plain) == run


_YAML_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["steps", "size", "layers", "names", "zzz"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["train", "model", "seed", "extra", "other"]),
        _YAML_VALUES,
    )
)
def test_any_mapping_gives_settings_or_a_user_error(values):
    try:
        run = config.from_dict(Run, values)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        again = config.from_dict(Run, config.to_dict(run))
        assert repr(again) == repr(run)  # NaN does not equal NaN


@given(st.text())
def test_any_override_gives_settings_or_a_user_error(text):
    for key in ("train.steps", "model.size", "seed"):
        try:
            config.resolve(Run, None, [f"{key}={text}"])
        except UserError:
            pass


@dataclasses.dataclass(frozen=True)
class Bounded(config.Settings):
    share: Annotated[
        float, Setting("Share that is kept.", at_least=0, below=1)
    ] = 0.1
    steps: Annotated[
        int, Setting("Updates.", at_least=1, formerly=("updates",))
    ] = 10
    rate: Annotated[float, Setting("Peak; null takes 1.", above=0)] | None = (
        None
    )
    kind: Annotated[Literal["a", "b"], Setting("Which one.")] = "a"

    def __post_init__(self):
        super().__post_init__()
        if self.kind == "b" and self.rate is None:
            raise UserError("rate: kind b needs one")


@dataclasses.dataclass(frozen=True)
class BoundedRun:
    part: Bounded = dataclasses.field(default_factory=Bounded)
    train: Train = Train()


@dataclasses.dataclass(frozen=True)
class Unbounded(config.Settings):
    weight: Annotated[float, Setting("Any number.")] = 1.0
    odds: Annotated[float, Setting("Any odds.", infinite=True)] = 1.0


def test_nan_is_no_number():
    assert Unbounded(odds=-math.inf).odds == -math.inf
    with pytest.raises(UserError, match="odds: expected a number, got nan"):
        Unbounded(odds=math.nan)
    with pytest.raises(UserError, match="weight: expected a number, got nan"):
        Unbounded(math.nan)
    with pytest.raises(UserError, match="weight: expected a number"):
        config.resolve(Unbounded, overrides=["weight=.nan"])


@pytest.mark.parametrize("number", ["inf", "-inf", "1e999"])
def test_infinite_numbers_are_refused(number):
    with pytest.raises(UserError, match="weight: expected a finite number, "):
        Unbounded(float(number))
    with pytest.raises(UserError, match=r"part\.rate: expected a "):
        config.resolve(BoundedRun, overrides=[f"part.rate={number}"])
    with pytest.raises(UserError, match="weight: expected a finite number"):
        config.resolve(Unbounded, overrides=["weight=-.inf"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1.0}, "share: expected at least 0 and below 1, got 1.0"),
        ({"share": -0.1}, "share: expected at least 0 and below 1, got -0.1"),
        ({"share": math.nan}, "share: expected at least 0 and below 1, got"),
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"steps": 1.5}, "steps: expected a whole number, got 1.5"),
        ({"steps": True}, "steps: expected a whole number, got true"),
        ({"rate": 0}, "rate: expected above 0, got 0"),
        ({"kind": "c"}, "kind: expected one of 'a', 'b', got 'c'"),
        ({"kind": "b"}, "rate: kind b needs one"),
    ],
)
def test_values_are_checked_however_settings_are_made(
    tmp_path, values, message
):
    with pytest.raises(UserError) as caught:
        Bounded(**values)
    assert str(caught.value).startswith(message)
    name, value = next(iter(values.items()))
    lines = yaml.safe_dump({"part": values})
    path = _write(tmp_path, lines)
    with pytest.raises(UserError) as caught:
        config.resolve(BoundedRun, path)
    assert str(caught.value).startswith(f"{path}:")
    assert f": part.{message}" in str(caught.value)
    if "kind b" not in message:
        assert str(caught.value).startswith(f"{path}:2: part.{message}")
    word = f"part.{name}={json.dumps(value)}"
    with pytest.raises(UserError) as caught:
        config.resolve(BoundedRun, None, [word])
    assert str(caught.value).startswith(f"--set {word}: part.")
    with pytest.raises(UserError, match=f"part.{message.partition(':')[0]}"):
        config.resolve(BoundedRun, part=values)


def test_numbers_of_numpy_and_whole_floats_are_numbers():
    made = Bounded(share=np.float32(0.5), steps=np.int64(3), rate=2)
    assert made == Bounded(0.5, 3, 2.0)
    assert [type(made.share), type(made.steps), type(made.rate)] == [
        float, int, float,
    ]  # fmt: skip
    assert Bounded(steps=1e3).steps == 1000


def test_bounds_hold_for_replaced_values():
    with pytest.raises(UserError, match="steps: expected at least 1"):
        dataclasses.replace(Bounded(), steps=-1)


def test_older_names_are_read_and_written_by_the_new_ones(tmp_path):
    path = _write(tmp_path, "part: {updates: 7}\n")
    run = config.resolve(BoundedRun, path)
    assert run.part.steps == 7
    assert config.to_dict(run)["part"]["steps"] == 7
    for word in ("part.steps=8", "part.updates=8"):
        assert config.resolve(BoundedRun, path, [word]).part.steps == 8
    path = _write(tmp_path, "part: {updates: 7, steps: 8}\n")
    with pytest.raises(UserError, match=r"yaml:1: 'part.steps' is given twice"):
        config.resolve(BoundedRun, path)


@pytest.mark.parametrize(
    "given",
    [
        BoundedRun(Bounded(steps=4)),
        {"part": {"steps": 4}},
        {"part": Bounded(steps=4)},
    ],
)
def test_resolve_takes_objects_and_mappings(given):
    assert config.resolve(BoundedRun, given).part.steps == 4
    assert config.resolve(BoundedRun, given, part={"steps": 5}).part.steps == 5
    both = config.resolve(
        BoundedRun, given, {"part.steps": 6}, part={"share": 0.5}
    )
    assert both.part == Bounded(0.5, 6)
    # The argument was not changed.
    assert config.resolve(BoundedRun, given).part.steps == 4


def test_resolve_takes_a_file_and_names_what_is_wrong(tmp_path):
    path = _write(tmp_path, "train: {steps: 5}\n")
    assert config.resolve(BoundedRun, path, train={"clip": 3}).train == Train(
        steps=5, clip=3.0
    )
    with pytest.raises(UserError, match=r"^train=: unknown key 'train.stps'"):
        config.resolve(BoundedRun, path, train={"stps": 1})
    with pytest.raises(UserError, match="train: expected a mapping"):
        config.resolve(BoundedRun, path, train=3)
    with pytest.raises(UserError, match="config: expected a settings object"):
        config.resolve(BoundedRun, 3)


def test_a_word_of_a_key_suggests_the_key():
    text = _message(None, "train.rate=1")
    assert "did you mean 'train.learning_rate'?" in text


def test_describe_has_type_default_bounds_and_meaning():
    keys = {key.key: key for key in config.describe(BoundedRun)}
    assert keys["part.share"] == (
        "part.share", "a number", "0.1", "at least 0 and below 1",
        "Share that is kept.",
    )  # fmt: skip
    assert keys["part.rate"][1:4] == ("a number or null", "null", "above 0")
    assert keys["part.kind"].kind == "one of 'a', 'b'"
    assert keys["train.resume"].default == "true"
    nested = {key.key: key.kind for key in config.describe(Nested)}
    assert nested["form"] == "one of 'a' or null"
    assert nested["parts"] == (
        "a list, each a mapping of learning_rate, steps, schedule, clip, resume"
    )
    strict = {key.key: key for key in config.describe(Strict)}
    assert strict["data"].default == "required"
