"""Tests the zip archive for gluebenchmark.com."""

import io
import json
import zipfile

import glue_zip as tool
import pytest

from electra_tf.errors import UserError
from electra_tf.tasks.glue import sets as glue_sets
from electra_tf.tasks.glue.sets import SETS
from electra_tf.tasks.glue.task import Glue
from electra_tf.tasks.texts.task import TextExample

# The names of the files that the site expects.
NAMES = (
    "CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI",
    "RTE", "WNLI", "AX",
)  # fmt: skip
NUMBERS = {"cola", "sst2", "mrpc", "qqp", "wnli"}


def lines(content):
    return content.decode("utf-8").splitlines()


def unpack(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("name", SETS)
def test_files_of_test_splits(name):
    task = Glue(f"glue/{name}")
    examples = [TextExample("a", "b", index=i) for i in (0, 1, 7)]
    predictions = [{"score": s} for s in (-0.2, 3.25, 5.1)]
    if task.set.labels:
        chosen = [*task.set.labels, *task.set.labels][:3]
        predictions = [{"label": label} for label in chosen]
    for split in SETS[name].test_splits:
        ((file, content),) = task.files(split, examples, predictions).items()
        assert file.removesuffix(".tsv") in NAMES
        header, *rows = lines(content)
        assert header == "index\tprediction"
        expected = ["0.000000", "3.250000", "5.000000"]
        if task.set.labels:
            expected = chosen
        if name in NUMBERS:
            expected = ["0", "1", "0"]
        assert [r.split("\t") for r in rows] == [
            [str(e.index), value] for e, value in zip(examples, expected)
        ]
    assert task.files("validation", examples, predictions) == {}


def test_ax_of_a_model_of_mnli():
    task = Glue("glue/mnli")
    found = task.files("ax", [TextExample("a", "b")], [{"label": "neutral"}])
    assert found == {"AX.tsv": b"index\tprediction\n0\tneutral\n"}


def test_missing_predictions_are_filled_in():
    given = b"index\tprediction\n" + b"".join(
        b"%d\t%s\n" % (i, [b"entailment", b"not_entailment"][i % 2])
        for i in range(3000)
    )
    packed, missing = glue_sets.pack({"RTE": given})
    assert sorted([*missing, "RTE"]) == sorted(NAMES)
    found = unpack(packed)
    assert set(found) == {f"{name}.tsv" for name in NAMES}
    assert found["RTE.tsv"] == given
    for name, (glue_set, split) in glue_sets.site_files().items():
        header, *rows = lines(found[f"{name}.tsv"])
        assert header == "index\tprediction"
        assert len(rows) == glue_set.rows[split]
        assert rows[-1].startswith(f"{len(rows) - 1}\t")
    assert lines(found["WNLI.tsv"])[1] == "0\t0"
    assert lines(found["QNLI.tsv"])[1] == "0\tentailment"
    assert packed == glue_sets.pack({"RTE": given})[0]


def test_wrong_files():
    with pytest.raises(UserError, match=r"rte.tsv: not a file of the site"):
        glue_sets.pack({"rte": b""})
    with pytest.raises(UserError, match=r"RTE.tsv: 1 rows, .* has 3000"):
        glue_sets.pack({"RTE": b"index\tprediction\n0\tentailment\n"})
    with pytest.raises(UserError, match=r"RTE.tsv: expected the header"):
        glue_sets.pack({"RTE": b"0\tentailment\n"})


def test_a_zip_of_runs(tmp_path, capsys):
    for trial, label in ((1, 0), (2, 1)):
        folder = tmp_path / f"wnli/trial_{trial}/predictions/test"
        folder.mkdir(parents=True)
        (folder / "WNLI.tsv").write_bytes(
            b"index\tprediction\n"
            + b"".join(b"%d\t%d\n" % (i, label) for i in range(146))
        )
    output = tmp_path / "out.zip"
    args = [f"--output={output}", f"--runs={tmp_path}/wnli"]
    assert tool.main(args) == 2
    assert "WNLI.tsv: there are" in capsys.readouterr().err
    report = tmp_path / "wnli" / "report.json"
    report.write_text(json.dumps({"best_trial": 2}))
    assert tool.main(args) == 0
    out = capsys.readouterr().out
    assert "RTE, AX: NOT PREDICTED" in out.replace("WNLI, ", "")
    found = unpack(output.read_bytes())
    assert lines(found["WNLI.tsv"])[1] == "0\t1"


def test_no_runs(tmp_path, capsys):
    args = [f"--output={tmp_path}/out.zip"]
    assert tool.main([*args, f"--runs={tmp_path}"]) == 2
    assert "found no predictions in" in capsys.readouterr().err
    assert tool.main([*args, f"--runs={tmp_path}/none"]) == 2
    assert "no such file or folder" in capsys.readouterr().err
