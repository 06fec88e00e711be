import io
import json
import math
import os
import struct
import time

import pytest
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.training.reporting import (
    PlotGroup,
    Reporter,
    read_records,
    write_plots,
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def reporter(run, stream=None, **settings):
    return Reporter(
        str(run),
        num_train_steps=100,
        batch_size=32,
        stream=stream if stream is not None else io.StringIO(),
        **settings,
    )


def test_records_and_their_resumption(tmp_path):
    first = reporter(tmp_path, tensorboard=False)
    first.begin(0)
    for step in (10, 20, 30):
        first.train(step, {"loss": 3.0 / step, "auc": math.nan})
    first.validation(20, {"loss": 0.5})
    path = tmp_path / "metrics.jsonl"
    # Each record is on disk at once.
    assert len(path.read_text().splitlines()) == 4
    first.close()
    with path.open("a") as file:
        file.write('{"step": 40, "spl')  # killed while writing

    second = reporter(tmp_path, tensorboard=False)
    assert [r["step"] for r in read_records(str(path))] == [10, 20, 30, 20]
    second.begin(25)
    second.train(35, {"loss": 0.1})
    second.close()
    records = read_records(str(path))
    assert [(r["step"], r["split"]) for r in records] == [
        (10, "train"),
        (20, "train"),
        (20, "validation"),
        (35, "train"),
    ]
    assert records[0]["auc"] is None  # JSON has no NaN
    assert abs(records[0]["time"] - time.time()) < 60
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=lambda c: pytest.fail(c))


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "split": "train"}\noops\n{"step": 2}\n')
    with pytest.raises(UserError, match="line 2 is not a record"):
        read_records(str(path))
    assert read_records(str(tmp_path / "absent.jsonl")) == []
    path.write_text("")
    assert read_records(str(path)) == []


def test_the_speed_leaves_out_the_first_step_and_pauses(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    report = reporter(tmp_path, stream, tensorboard=False)
    report.begin(0)
    now[0] += 40.0  # tracing
    report.progress(1)
    for step in range(2, 12):
        now[0] += 0.5
        report.progress(step)
    with report.paused():
        now[0] += 1000.0
    report.train(11, {"loss": 1.0})
    assert report.examples_per_second == pytest.approx(32 / 0.5)
    now[0] += 4.5
    report.progress(20)
    report.train(20, {"loss": 1.0})
    assert report.examples_per_second == pytest.approx(9 * 32 / 4.5)
    report.close()
    rates = [
        r["examples_per_second"]
        for r in read_records(str(tmp_path / "metrics.jsonl"))
    ]
    assert rates == [64.0, 64.0]


def test_a_line_every_half_minute_without_a_terminal(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    report = reporter(tmp_path, stream, tensorboard=False)
    report.begin(0)
    for step in range(1, 51):
        now[0] += 2.0
        report.progress(step)
        if step == 10:
            report.train(step, {"loss": 1.23456, "accuracy": 0.5, "other": 1})
            report.validation(step, {"loss": 2.0, "accuracy": 0.25})
    report.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 1/100 (1%)"
    assert lines[1] == "step 10 held-out: loss 2  accuracy 0.25"
    # At 2 s a step, the 84 steps after step 16 take 168 s.
    assert lines[2] == (
        "step 16/100 (16%)  loss 1.235  accuracy 0.5  16 examples/s  ETA 2m 48s"
    )
    assert len(lines) == 5


def test_one_rewritten_line_on_a_terminal(tmp_path):
    stream = Terminal()
    report = reporter(tmp_path, stream, shown=["loss"], tensorboard=False)
    report.begin(0)
    report.progress(1)
    report.train(1, {"loss": 1.0, "accuracy": 0.5})
    time.sleep(0.55)
    report.progress(2)
    report.note("a note")
    report.progress(2)
    report.close()
    text = stream.getvalue()
    assert text.startswith("\r\x1b[Kstep 1/100 (1%)\r\x1b[Kstep 2/100 (2%)")
    assert "loss 1" in text and "accuracy" not in text
    assert text.count("\n") == 1 and "\r\x1b[Ka note\n" in text


def test_tensorboard_scalars(tmp_path):
    report = reporter(tmp_path)
    report.begin(0)
    report.train(10, {"loss": 1.5})
    report.validation(10, {"loss": 2.5})
    report.close()
    for split, value in ("train", 1.5), ("validation", 2.5):
        (file,) = (tmp_path / "tensorboard" / split).iterdir()
        found = []
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for scalar in event.summary.value:
                plugin = scalar.metadata.plugin_data.plugin_name
                number = float(tf.make_ndarray(scalar.tensor))
                found.append((event.step, scalar.tag, plugin, number))
        assert found == [(10, "loss", "scalars", value)]


def png_size(path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return struct.unpack(">II", content[16:24])


def test_plots(tmp_path):
    report = reporter(
        tmp_path,
        tensorboard=False,
        plots=[
            PlotGroup("losses", ("loss", "mlm_loss"), "nats per token", True),
            PlotGroup("accuracies", ("accuracy",), "share of tokens"),
            PlotGroup("absent", ("nothing",), "none"),
        ],
    )
    report.begin(0)
    for step in range(1, 40):
        loss = 10 / step
        report.train(step, {"loss": loss, "mlm_loss": loss / 2, "auc": 1})
        if step % 10 == 0:
            accuracy = math.nan if step == 20 else 1 - 1 / step
            report.validation(step, {"loss": 11 / step, "accuracy": accuracy})
    report.close()
    paths = report.draw_plots()
    assert [os.path.basename(p) for p in paths] == [
        "losses.png",
        "accuracies.png",
    ]
    for name in ("losses.png", "accuracies.png"):
        assert png_size(tmp_path / "plots" / name) == (960, 600)


@pytest.mark.parametrize(
    ("every", "epochs"), [(5, True), (10, False), (20, False)]
)
def test_several_evaluations_an_epoch_have_an_axis(
    tmp_path, every, epochs, monkeypatch
):
    labels = []

    def see(figure, *args, **options):
        (axes,) = figure.axes
        labels.extend(a.get_xlabel() for a in axes.child_axes)
        for top in axes.child_axes:
            figure.draw_without_rendering()
            labels.append(max(axes.get_xlim()) / max(top.get_xlim()))

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", see)
    records = [
        {"step": s, "split": "validation", "loss": 1.0}
        for s in range(every, 41, every)
    ]
    group = PlotGroup("loss", ("loss",), "nats")
    write_plots(records, [group], str(tmp_path), 10.0)
    assert labels == (["epoch", pytest.approx(10.0)] if epochs else [])


def test_a_metric_that_falls_to_zero_stays_off_the_log_axis(tmp_path):
    records = [
        {"step": s, "split": "train", "loss": max(0.0, 3.0 - s)}
        for s in range(5)
    ]
    group = PlotGroup("loss", ("loss",), "nats", log_scale=True)
    assert len(write_plots(records, [group], str(tmp_path))) == 1
    assert write_plots(records[3:], [group], str(tmp_path)) == []
