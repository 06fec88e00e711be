"""Reports a run's progress: a line, metrics.jsonl, TensorBoard, plots.

Each line of `<run>/metrics.jsonl` is an object with `step` (updates done),
`split` ("train" or "validation"), `time` (Unix seconds) and the metrics.
"""

import contextlib
import dataclasses
import io
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.training import loggers as loggers_lib

_STYLES: dict[str, dict[str, Any]] = {
    "train": {"linestyle": "-", "alpha": 0.75, "linewidth": 1.2},
    "validation": {
        "linestyle": "--",
        "marker": "o",
        "markersize": 4,
        "linewidth": 1.6,
    },
}
_SPLIT_NAMES = {"train": "training", "validation": "held-out"}


@dataclasses.dataclass(frozen=True)
class PlotGroup:
    """One plot: metrics that share a unit."""

    name: str  # the title, and the file name without .png
    metrics: tuple[str, ...]  # keys in metrics.jsonl
    label: str  # vertical axis, with its unit
    log_scale: bool = False  # logarithmic vertical axis


def write_plots(
    records: Sequence[Mapping[str, Any]],
    groups: Sequence[PlotGroup],
    directory: str,
    epoch_steps: float | None = None,
) -> list[str]:
    """Plots training and held-out curves of each group over the steps.

    Args:
      records: records from `read_records`.
      groups: the plots; those without values are left out.
      directory: directory for `<name>.png`.
      epoch_steps: steps of an epoch; an axis of epochs is added where the
        held-out data was evaluated several times an epoch.

    Returns:
      The paths written.
    """
    paths = []
    for group in groups:
        figure = _draw(records, group, epoch_steps)
        if figure is not None:
            picture = io.BytesIO()
            figure.savefig(picture, format="png", dpi=120)
            path = files.join(directory, f"{group.name}.png")
            files.write_bytes(path, picture.getvalue())
            paths.append(path)
    return paths


def count_epochs(
    axes: Any, steps: Sequence[int], epoch_steps: float | None
) -> None:
    """Adds an axis of epochs, where epochs have several evaluations.

    Args:
      axes: matplotlib's axes, over steps.
      steps: steps of the evaluations.
      epoch_steps: steps of an epoch; None adds no axis.
    """
    if not epoch_steps or len(steps) < 2:
        return
    between = (max(steps) - min(steps)) / (len(set(steps)) - 1 or 1)
    if between > 0.75 * epoch_steps:
        return
    top = axes.secondary_xaxis(
        "top",
        functions=(lambda x: x / epoch_steps, lambda x: x * epoch_steps),
    )
    top.set_xlabel("epoch")


def _draw(
    records: Sequence[Mapping[str, Any]],
    group: PlotGroup,
    epoch_steps: float | None,
) -> Any:
    # Figures without pyplot: no display and no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn = 0
    for number, metric in enumerate(group.metrics):
        for split, style in _STYLES.items():
            points = [
                (record["step"], record[metric])
                for record in records
                if record["split"] == split
                and isinstance(record.get(metric), int | float)
                and (record[metric] > 0 or not group.log_scale)
            ]
            if points:
                drawn += 1
                if len(points) == 1:  # a line of one point is invisible
                    style = style | {"marker": "o", "markersize": 4}
                axes.plot(
                    *zip(*points),
                    color=f"C{number}",
                    label=f"{metric} ({_SPLIT_NAMES[split]})",
                    **style,
                )
    if not drawn:
        return None
    if group.log_scale:
        _label_log_axis(axes)
    axes.set_title(group.name.replace("_", " "))
    axes.set_xlabel("training step (updates)")
    axes.set_ylabel(group.label)
    steps = [r["step"] for r in records if r["split"] == "validation"]
    count_epochs(axes, steps, epoch_steps)
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(fontsize=8)
    return figure


def _label_log_axis(axes: Any) -> None:
    """Puts plain numbers on a logarithmic axis, within one decade too."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


# Seconds between redrawn lines on a terminal, and between lines in a file.
_REDRAW_SECONDS = 0.5
_LINE_SECONDS = 30.0


def read_records(path: str) -> list[dict[str, Any]]:
    """Reads the records of a metrics.jsonl; empty if there is no such file.

    An incomplete last line, from a killed process, is left out.

    Raises:
      UserError: a line before the last is not a record; the line is named.
    """
    if not files.exists(path):
        return []
    lines = files.read_bytes(path).split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            record["step"], record["split"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise UserError(
                f"{path}: line {number} is not a record of metrics; remove it"
            ) from error
        records.append(record)
    return records


class Reporter:
    """Shows and records a run's metrics; `train()` calls it.

    Args:
      run_dir: directory for metrics.jsonl, tensorboard/ and plots/.
      num_train_steps: the last step, to estimate the time left.
      batch_size: examples per step, to report the speed.
      shown: metrics on the progress line, in this order; None shows "loss" and
        those that end in "accuracy".
      plots: plots to write at the end.
      stream: stream for lines; a terminal gets one line that is rewritten.
      tensorboard: whether to write event files.
      progress: whether to show progress; if not, it is only recorded.
      loggers: names in `training.loggers` that get the metrics too.

    Attributes:
      recording: whether anything is shown or written; among several workers
        only the chief does.
    """

    def __init__(
        self,
        run_dir: str,
        *,
        num_train_steps: int,
        batch_size: int,
        shown: Sequence[str] | None = None,
        plots: Sequence[PlotGroup] = (),
        stream: TextIO | None = None,
        tensorboard: bool = True,
        progress: bool = True,
        loggers: Sequence[str] = (),
    ):
        self.run_dir = run_dir
        self.num_train_steps = num_train_steps
        self.batch_size = batch_size
        self.shown = tuple(shown) if shown is not None else None
        self.plots = tuple(plots)
        self.tensorboard = tensorboard
        self.recording = True
        self._progress = progress
        self.metrics_path = files.join(run_dir, "metrics.jsonl")
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._logger_names = tuple(loggers)
        self._loggers: dict[str, loggers_lib.Logger] = {}
        self._writers: dict[str, tf.summary.SummaryWriter] = {}
        self._log: Any = None
        self._text = ""  # the metrics part of the progress line
        self._line_open = False
        self._next_draw = 0.0
        # Clocks start after the first call of the compiled function.
        self._started: tuple[float, int] | None = None
        self._mark: tuple[float, int] | None = None  # since the last record
        self._paused = 0.0  # seconds without training since the mark
        self.examples_per_second: float | None = None

    def begin(self, step: int) -> None:
        """Opens the files; drops records of steps after `step`."""
        if not self.recording:
            return
        records = read_records(self.metrics_path)
        kept = [r for r in records if r["step"] <= step]
        if files.exists(self.metrics_path):
            # Also removes an incomplete last line.
            text = "".join(json.dumps(r) + "\n" for r in kept)
            files.write_text(self.metrics_path, text)
        else:
            files.make_directory(self.run_dir)
        with files.named_errors(self.metrics_path, "write"):
            self._log = tf.io.gfile.GFile(self.metrics_path, "a")
        for name in self._logger_names:
            self._loggers[name] = loggers_lib.start(name, self.run_dir)

    def progress(self, step: int) -> None:
        """Notes that `step` updates are done; cheap enough for every step."""
        now = time.monotonic()
        if self._started is None:
            self._started = self._mark = (now, step)
            self._paused = 0.0
        if now >= self._next_draw:
            self._draw(step, now)

    def train(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records training metrics: means since the last record."""
        now = time.monotonic()
        record = dict(metrics)
        if self._mark is not None and step > self._mark[1]:
            seconds = max(1e-9, now - self._mark[0] - self._paused)
            steps = step - self._mark[1]
            self.examples_per_second = steps * self.batch_size / seconds
            record["examples_per_second"] = round(self.examples_per_second, 3)
            self._mark, self._paused = (now, step), 0.0
        self._record(step, "train", record)
        self._text = self._describe(metrics)

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records held-out metrics and prints them on a line."""
        self._record(step, "validation", metrics)
        self.note(f"step {step} held-out: {self._describe(metrics)}")

    def note(self, text: str) -> None:
        """Prints a line that is not overwritten."""
        if not (self.recording and self._progress):
            return
        if self._line_open:
            self._stream.write("\r\x1b[K")
            self._line_open = False
        self._stream.write(text + "\n")
        self._stream.flush()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time inside from the training speed."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._paused += time.monotonic() - start

    def draw_plots(self) -> list[str]:
        """Plots the metrics from metrics.jsonl; returns their paths."""
        if not self.recording:
            return []
        return write_plots(
            read_records(self.metrics_path),
            self.plots,
            files.join(self.run_dir, "plots"),
        )

    def close(self) -> None:
        """Ends the progress line and closes the files."""
        if self._line_open:
            self._stream.write("\n")
            self._stream.flush()
            self._line_open = False
        # Every record was flushed; on a full disk closing fails again.
        for writer in self._writers.values():
            with contextlib.suppress(tf.errors.OpError):
                writer.close()
        self._writers.clear()
        for logger in self._loggers.values():
            with contextlib.suppress(Exception):  # it has all metrics
                logger.close()
        self._loggers.clear()
        if self._log is not None:
            with contextlib.suppress(tf.errors.OpError):
                self._log.close()
            self._log = None

    def _record(
        self, step: int, split: str, metrics: Mapping[str, float]
    ) -> None:
        if not self.recording:
            return
        record: dict[str, Any] = {
            "step": step,
            "split": split,
            "time": round(time.time(), 3),
        }
        for name, value in metrics.items():
            # JSON has no NaN; an undefined metric is null.
            record[name] = value if math.isfinite(value) else None
        with files.named_errors(self.metrics_path, "write"):
            self._log.write(json.dumps(record) + "\n")
            self._log.flush()
        for logger_name, logger in self._loggers.items():
            loggers_lib.log(logger_name, logger, step, split, metrics)
        if not self.tensorboard:
            return
        if split not in self._writers:
            directory = files.join(self.run_dir, "tensorboard", split)
            self._writers[split] = tf.summary.create_file_writer(directory)
        with files.named_errors(
            files.join(self.run_dir, "tensorboard"), "write"
        ):
            with self._writers[split].as_default(step=step):
                for name, value in metrics.items():
                    _write_scalar(name, value)
            self._writers[split].flush()

    def _describe(self, metrics: Mapping[str, float]) -> str:
        names: Sequence[str] | None = self.shown
        if names is None:
            names = [
                n for n in metrics if n == "loss" or n.endswith("accuracy")
            ]
        return "  ".join(
            f"{name} {metrics[name]:.4g}" for name in names if name in metrics
        )

    def _draw(self, step: int, now: float) -> None:
        if not (self.recording and self._progress):
            return
        share = step / max(1, self.num_train_steps)
        parts = [f"step {step}/{self.num_train_steps} ({share:.0%})"]
        if self._text:
            parts.append(self._text)
        rate = self.examples_per_second
        start, first = self._started or (now, step)
        if rate is None and step > first:
            rate = (step - first) * self.batch_size / max(1e-9, now - start)
        if rate is not None:
            parts.append(f"{rate:.4g} examples/s")
        if step > first:
            # Includes evaluations and checkpoints: more will follow.
            left = (self.num_train_steps - step) * (now - start)
            parts.append(f"ETA {_duration(left / (step - first))}")
        line = "  ".join(parts)
        if self._terminal:
            self._stream.write(f"\r\x1b[K{line}")
            self._line_open = True
            self._next_draw = now + _REDRAW_SECONDS
        else:
            self._stream.write(line + "\n")
            self._next_draw = now + _LINE_SECONDS
        self._stream.flush()


def _write_scalar(name: str, value: float) -> None:
    """Writes a scalar like `tf.summary.scalar`, which needs TensorBoard."""
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data={"plugin_name": "scalars"},
        data_class="DATA_CLASS_SCALAR",
    )
    tf.summary.write(name, tf.constant(value, tf.float32), metadata=metadata)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {seconds:02d}s"
