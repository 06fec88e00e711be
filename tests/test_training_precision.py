"""Tests which number format training uses where no setting names one."""

import json

import pytest

from electra_tf import processor as processors
from electra_tf.errors import UserError
from electra_tf.keras_api.settings import PretrainSettings, recorded
from electra_tf.training import precision
from electra_tf.training.settings import check_run


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Returns a function that sets the flags of the processor."""
    for name in (
        precision.VARIABLE, "ONEDNN_MAX_CPU_ISA", "TF_ENABLE_ONEDNN_OPTS",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processors, "_CPU_INFO", path)

    def has(flags):
        path.write_text(
            f"processor\t: 0\nflags\t\t: fpu avx2 {flags}\nbugs: x\n"
        )

    return has


def test_the_processor_decides(processor, monkeypatch):
    assert processors.bfloat16_instructions() is None  # no such file: not Linux
    processor("avx512f avx512_vnni")
    assert precision.resolved("auto") == "float32"
    processor("avx512f avx512_bf16 avx512_vnni")
    assert processors.bfloat16_instructions() == "avx512_bf16"
    assert precision.resolved("auto") == "bfloat16_products"
    processor("amx_bf16 avx512_bf16")
    assert processors.bfloat16_instructions() == "amx_bf16 and avx512_bf16"
    # XLA uses other, slower products on a CPU.
    assert precision.resolved("auto", jit_compile=True) == "float32"
    monkeypatch.setenv(precision.VARIABLE, "float32")
    assert precision.resolved("auto") == "float32"
    monkeypatch.setenv(precision.VARIABLE, "fp16")
    with pytest.raises(UserError, match=f"{precision.VARIABLE}: .*got fp16"):
        precision.resolved("auto")


@pytest.mark.parametrize(
    "name, value",
    [
        ("ONEDNN_MAX_CPU_ISA", "AVX2"),
        ("ONEDNN_MAX_CPU_ISA", "avx512_core_vnni"),
        ("ONEDNN_MAX_CPU_ISA", "AVX2_VNNI"),
        ("TF_ENABLE_ONEDNN_OPTS", "0"),
    ],
)
def test_instructions_that_may_not_be_used(processor, monkeypatch, name, value):
    processor("avx512_bf16")
    monkeypatch.setenv(name, value)
    assert precision.resolved("auto") == "float32"


@pytest.mark.parametrize("value", ["AVX2", "avx2_vnni_2", "AVX", "SSE41"])
def test_a_precision_that_would_end_the_process_is_refused(
    processor, monkeypatch, value
):
    """TensorFlow 2.21 aborts there: oneDNN has no such product."""
    processor("avx512f avx512_bf16")
    assert precision.resolved("bfloat16_products") == "bfloat16_products"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", value)
    for name in ("bfloat16_products", "mixed_bfloat16"):
        with pytest.raises(UserError, match=f"_ISA={value.upper()}"):
            precision.resolved(name)
    assert precision.resolved("mixed_float16") == "mixed_float16"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert processors.bfloat16_problem() is None
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    processor("")  # without AVX-512 TensorFlow multiplies by itself
    assert precision.resolved("bfloat16_products") == "bfloat16_products"


def test_limits_that_leave_them(processor, monkeypatch):
    processor("avx512_bf16")
    for value in ("", "ALL", "DEFAULT", "AVX512_CORE_BF16", "AVX512_CORE_AMX"):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", value)
        assert precision.resolved("auto") == "bfloat16_products"


def test_a_resumed_run_keeps_its_precision(processor, tmp_path):
    processor("avx512_bf16")
    run = tmp_path / "run"
    run.mkdir()
    assert precision.resolved("auto", str(run)) == "bfloat16_products"
    for train, expected in (
        ({}, "float32"),  # a run of an older version
        ({"precision": "float32"}, "float32"),
        ({"precision": "mixed_bfloat16"}, "mixed_bfloat16"),
        ({"precision": "bfloat16_products"}, "bfloat16_products"),
    ):
        (run / "config.json").write_text(json.dumps({"train": train}))
        processor("avx512_bf16" if expected == "float32" else "")
        assert precision.resolved("auto", str(run)) == expected
    # An explicit setting is used; `check_run` refuses one that differs.
    assert precision.resolved("float32", str(run)) == "float32"


def test_the_line_for_people(processor):
    processor("avx512_bf16")
    line = precision.describe("bfloat16_products", "auto")
    assert "avx512_bf16" in line and "train.precision=float32" in line
    assert precision.describe("bfloat16_products", "bfloat16_products") is None
    assert precision.describe("float32", "auto") is None


def test_settings_from_before_there_was_a_choice(tmp_path):
    content = {"train": {"num_train_steps": 7}, "data": {}}
    found = recorded(content, "config.json").train
    assert (found.precision, found.num_train_steps) == ("float32", 7)
    content["train"]["precision"] = "bfloat16_products"
    found = recorded(content, "config.json").train
    assert found.precision == "bfloat16_products"
    # A new run in float32 has the settings of such an older run.
    (tmp_path / "config.json").write_text('{"train": {"num_train_steps": 7}}')
    now = {"train": {"num_train_steps": 7, "precision": "float32"}}
    check_run(str(tmp_path), now)
    now["train"]["precision"] = "bfloat16_products"
    with pytest.raises(UserError, match="float32"):
        check_run(str(tmp_path), now)


def test_settings_come_back():
    from electra_tf import config as configs

    for name in ("auto", "bfloat16_products"):
        given = configs.resolve(
            PretrainSettings, overrides=[f"train.precision={name}"]
        )
        again = configs.from_dict(
            PretrainSettings, json.loads(json.dumps(configs.to_dict(given))), ""
        )
        assert again == given and again.train.precision == name
