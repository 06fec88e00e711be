"""Runs the commands of the original's README unchanged on small data."""

import json
import pathlib
import shlex
import subprocess
import sys
import tarfile

import glue_files
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The README's commands; DATA is its $DATA_DIR. The model is a small one of a
# debug run. Under another name it stands in for a released model.
BUILD = (
    "build_openwebtext_pretraining_dataset.py --data-dir DATA "
    "--num-processes 5",
    "build_pretraining_dataset.py --corpus-dir DATA/text --vocab-file "
    "DATA/vocab.txt --output-dir DATA/other --max-seq-length 64 "
    "--num-processes 2 --blanks-separate-docs True --do-lower-case",
)
PRETRAIN = (
    "run_pretraining.py --data-dir DATA --model-name electra_small_owt "
    """--hparams '{"debug": true}'""",
    "run_pretraining.py --data-dir DATA --model-name electra_small_owt "
    """--hparams '{"do_train": false, "do_eval": true}'""",
)
FINETUNE = (
    "run_finetuning.py --data-dir DATA --model-name electra_base "
    """--hparams '{"model_size": "base", "task_names": ["mnli"]}'""",
    "run_finetuning.py --data-dir DATA --model-name electra_base "
    """--hparams '{"model_size": "base", "task_names": ["mnli"], """
    """"do_train": false, "do_eval": true, "init_checkpoint": """
    """"DATA/models/electra_base/finetuning_models/mnli_model_1"}'""",
    "run_finetuning.py --data-dir DATA --model-name electra_small_owt "
    """--hparams '{"model_size": "small", "task_names": ["cola"]}'""",
    "run_finetuning.py --data-dir DATA --model-name electra_base "
    """--hparams '{"model_size": "base", "task_names": ["squad"]}'""",
    "run_finetuning.py --data-dir DATA --model-name electra_base "
    """--hparams '{"model_size": "base", "task_names": ["chunk"]}'""",
)


def _run(command, data):
    words = shlex.split(command.replace("DATA", str(data)))
    words = [sys.executable, str(ROOT / "tools" / words[0]), *words[1:]]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=600, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_readme(sample_text_dir, tiny_tokens, tmp_path, shared_dir):
    data = tmp_path
    golden = shared_dir / "golden" / "finetune" / "data_dir"
    text = (sample_text_dir / "persuasion.txt").read_text()[:60_000]
    (data / "text").mkdir()
    (data / "text" / "a.txt").write_text(text)
    (data / "vocab.txt").write_text("\n".join(tiny_tokens) + "\n")
    (data / "openwebtext").mkdir()
    with tarfile.open(data / "openwebtext" / "1_data.xz", "w:xz") as archive:
        archive.add(data / "text" / "a.txt", "a.txt")
    for command in (*BUILD, *PRETRAIN):
        _run(command, data)
    results = data / "models" / "electra_small_owt" / "results"
    assert "disc_auc = " in (results / "unsup_results.txt").read_text()
    # The same model takes the place of a released one.
    (data / "models" / "electra_base").symlink_to("electra_small_owt")
    sets = data / "finetuning_data"
    sets.mkdir()
    for task in ("cola", "squad", "chunk"):
        (sets / task).symlink_to(golden / "finetuning_data" / task)
    (sets / "mnli").mkdir()
    for split, file in (
        ("train", "train"), ("validation_matched", "dev_matched"),
        ("validation_mismatched", "dev_mismatched"),
    ):  # fmt: skip
        lines = glue_files.lines("mnli", split, 8)
        (sets / "mnli" / f"{file}.tsv").write_text("\n".join(lines) + "\n")
    for command in FINETUNE:
        assert "validation" in _run(command, data)
    for task, metric in (
        ("mnli", "accuracy"), ("cola", "mcc"), ("squad", "exact"),
        ("chunk", "f1"),
    ):  # fmt: skip
        found = json.loads((results / f"{task}_results.json").read_text())
        assert metric in found[0][task]
        line = (results / f"{task}_results.txt").read_text()
        assert line.startswith(f"{task}: ")
    # A second run trains nothing again.
    assert "validation" in _run(FINETUNE[0], data)
