"""Tests that the programs in examples/ do what they describe."""

import ast
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pretraining_tiny as tiny
import pytest
import serving_models
import serving_toy

import electra_tf
from electra_tf.config import resolve
from electra_tf.models import kernels
from electra_tf.pretraining.settings import ObjectiveConfig
from electra_tf.tasks.registry import task_class

ROOT = pathlib.Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))
FEW = {
    "hidden_size": 16, "embedding_size": 16, "num_layers": 2, "num_heads": 2,
    "intermediate_size": 32, "max_positions": 64,
}  # fmt: skip


def program(name):
    """Returns the module of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_examples_are_short_and_in_the_list(path):
    text = path.read_text("utf-8")
    assert text.count("\n") < 80
    assert ast.get_docstring(ast.parse(text))
    listed = (ROOT / "docs" / "examples.md").read_text("utf-8")
    assert f"`examples/{path.name}`" in listed


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tiny_vocab_file):
    """A model directory of two networks with random weights."""
    path = tmp_path_factory.mktemp("examples") / "model"
    electra_tf.ElectraPretrainer.from_size(
        "tiny", vocab=tiny_vocab_file, model=FEW
    ).save_pretrained(str(path))
    return str(path)


@pytest.mark.slow
def test_own_objective():
    kind = f"{EXAMPLES / 'own_objective.py'}:Smoothed"
    objective = resolve(ObjectiveConfig, None, [f"kind={kind}"])
    batch = next(iter(tiny.dataset(1)))
    model = tiny.model(objective=objective, dropout=0.0)
    with kernels.use("plain"):
        judged = model(batch).judged
        plain = tiny.model(objective=ObjectiveConfig(), dropout=0.0)(batch)
    # loss(wrong) - loss(right) is the logit of the right label.
    right = plain.judged.loss.numpy()
    signs = 2.0 * judged.labels.numpy() - 1.0
    expected = right + 0.05 * signs * judged.logits.numpy()
    assert judged.loss.numpy() == pytest.approx(expected, abs=1e-5)
    names = [metric.name for metric in model.objective.metrics()]
    assert names[-1] == "disc_confidence"


def test_own_task(sample_text_dir):
    name = f"{EXAMPLES / 'own_task.py'}:Speech"
    task = task_class(name)(name, None, str(sample_text_dir))
    rows = task.read("train")
    assert len(rows) == 600 and task.read("test") is None
    assert {row.answer for row in rows} == {"narration", "speech"}
    assert not any('"' in row.text for row in rows)
    task.fit(rows)
    constant = task.constant(rows, rows)
    assert task.scores(rows, constant)["accuracy"] == pytest.approx(50.0)


@pytest.mark.slow
def test_client(tmp_path, capsys):
    pytest.importorskip("uvicorn")
    serving_toy.save(tmp_path / "toy" / "1")
    texts = tmp_path / "texts.txt"
    texts.write_text("one two\n\nthree\n")
    client = program("client")
    with serving_toy.served({"toy": tmp_path / "toy"}) as server:
        words = [f"--url=http://127.0.0.1:{server.port}", str(texts)]
        for flags in ((), ("--at_once",)):
            assert client.main(["--model=toy", *words, *flags]) == 0
            first, second = capsys.readouterr().out.splitlines()
            assert first.startswith("one two\t") and "'score': 7.0" in first
            assert second.startswith("three\t") and "'score': 5.0" in second
        assert client.main(["--model=nothing", *words]) == 1
    assert "nothing" in capsys.readouterr().err


@pytest.mark.slow
def test_own_keras_model(checkpoint, tmp_path, capsys):
    words = [f"--model={checkpoint}", f"--output={tmp_path / 'own.keras'}"]
    program("own_keras_model").main([*words, "--epochs=1"])
    assert "loaded: the same scores" in capsys.readouterr().out


@pytest.mark.slow
def test_kerashub_task(checkpoint, tmp_path, capsys):
    preset, output = str(tmp_path / "preset"), tmp_path / "trained"
    electra_tf.convert(checkpoint, "keras_hub", preset)
    program("kerashub_task").main(
        [f"--preset={preset}", f"--output={output}", "--epochs=1"]
    )
    assert capsys.readouterr().out.strip().startswith("[[")
    assert json.loads((output / "config.json").read_text())


@pytest.mark.slow
def test_pretrain_then_finetune(tmp_path, capsys, sample_text_dir):
    """The two programs that a new user runs first work one after the other."""
    program("pretrain_own_text").main(
        [
            f"--input={sample_text_dir}/*.txt", f"--output={tmp_path / 'own'}",
            "--steps=10", "--vocab_size=500",
        ]
    )  # fmt: skip
    assert "disc_auc: " in capsys.readouterr().out
    program("finetune_csv").main(
        [
            f"--model={tmp_path / 'own' / 'run'}", "--rows=30", "--epochs=1",
            f"--output={tmp_path / 'novels' / 'run'}",
        ]
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "accuracy" in printed and "persuasion" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    sorted((EXAMPLES / "notebooks").glob("*.ipynb")),
    ids=lambda path: path.stem,
)
def test_notebooks_run(path, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    (tmp_path / "electra_tf").symlink_to(ROOT / "electra_tf")
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    for cell in notebook.cells:
        assert not any(
            output.output_type == "error" for output in cell.get("outputs", ())
        )


@pytest.mark.parametrize(
    "path",
    sorted((EXAMPLES / "notebooks").glob("*.ipynb")),
    ids=lambda path: path.stem,
)
def test_notebooks_have_outputs(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 3 and any(cell["outputs"] for cell in code)
    assert all(cell["execution_count"] for cell in code)
    for cell in code:
        assert not any(o["output_type"] == "error" for o in cell["outputs"])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, tiny_vocab_file):
    """A classifier, 52 rows, and the predictions of those with a text."""
    folder = tmp_path_factory.mktemp("collections")
    model = serving_models.fine_tuned(
        str(folder / "model"), tiny_vocab_file, "classification"
    )
    rows = [{"id": i, "text": f"the cat {i % 7} a mat"} for i in range(50)]
    none = [{"id": 50, "text": None}, {"id": 51, "text": ""}]
    lines = map(json.dumps, rows[:20] + none + rows[20:])
    (folder / "rows.jsonl").write_text("\n".join(lines))
    answers = electra_tf.load(model).predict([row["text"] for row in rows])
    made = [row | answer for row, answer in zip(rows, answers)]
    return folder, json.loads(json.dumps(made))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "needs", "more"),
    [
        (
            "beam_pipeline", "apache_beam",
            ["--runner=apache_beam.runners.portability.fn_api_runner."
             "FnApiRunner", "--direct_num_workers=2",
             "--direct_running_mode=multi_processing"],
        ),
        ("ray_data", "ray", []),
        ("spark_udf", "pyspark", []),
    ],
)  # fmt: skip
def test_large_collections(name, needs, more, classifier, tmp_path):
    """Each example runs in its own process, as a user starts it."""
    pytest.importorskip(needs)
    folder, expected = classifier
    found = subprocess.run(
        [
            sys.executable, str(EXAMPLES / f"{name}.py"),
            f"--model={folder / 'model'}", f"--input={folder / 'rows.jsonl'}",
            f"--output={tmp_path / 'answers'}", *more,
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    paths = [*tmp_path.glob("answers/*.json"), *tmp_path.glob("answers*.jsonl")]
    lines = [line for path in paths for line in path.read_text().splitlines()]
    rows = sorted(map(json.loads, lines), key=lambda row: row["id"])
    for row in (rows.pop(), rows.pop()):
        assert row["error"].startswith("row: ") and "'text'" in row["error"]
        assert row.get("label") is None and not row.get("text")
    for row, answer in zip(rows, expected, strict=True):
        assert row.pop("error", None) is None
        shares = row.pop("probabilities")  # pandas writes 15 digits
        assert shares == pytest.approx(answer["probabilities"], rel=1e-13)
        assert row == {n: v for n, v in answer.items() if n in row}
        assert row["label"] and row["text"]
