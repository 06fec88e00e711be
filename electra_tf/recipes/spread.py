"""Helps recipes that process large collections on Apache Beam."""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from electra_tf.errors import UserError
from electra_tf.recipes.interrupts import sigterm_interrupts

if TYPE_CHECKING:
    from electra_tf.prediction.held import Loader
    from electra_tf.prediction.sharded import Job

Note = Callable[[str], None]
ROWS_PER_SHARD = 8192  # by default
# Flags that only --runner=beam uses -> their defaults.
DEFAULTS = {
    "beam_args": "", "num_workers": 1, "rows_per_shard": ROWS_PER_SHARD,
}  # fmt: skip


class Spread(NamedTuple):
    """How work is distributed: the flags that recipes have for it.

    Attributes:
      beam_args: see `beam_runs.run`.
      num_workers: see `beam_runs.run`.
      rows_per_shard: rows in a shard, rounded up to whole groups.
      overwrite: whether to replace an existing output.
      note: called with messages on progress and on the workers' cost.
    """

    beam_args: str
    num_workers: int
    rows_per_shard: int
    overwrite: bool
    note: Note


class Answered(NamedTuple):
    """The output that was written.

    Attributes:
      files: glob that matches all files.
      manifest: the file that lists them.
      rows: number of rows.
      errors: number of rows without a result.
      first_error: error of the first of these.
      sums: sums over all rows, of the values that are marked to be summed.
    """

    files: str
    manifest: str
    rows: int
    errors: int
    first_error: str | None
    sums: Mapping[str, float]


def check_used(runner: str, **given: Any) -> None:
    """Refuses flags that only --runner=beam uses, with another runner.

    Args:
      runner: value of --runner.
      **given: keys of `DEFAULTS`, with the flags' values.

    Raises:
      UserError: a flag that would be ignored has not its default.
    """
    for name, value in given.items():
        if runner != "beam" and value != DEFAULTS[name]:
            raise UserError(
                f"--{name}={value}: only with --runner=beam; give that too, or "
                f"leave --{name} out"
            )


def inputs(patterns: str) -> list[str]:
    """Returns the files that match globs, separated by commas, or a folder.

    Raises:
      UserError: no file matches, or Beam is not installed.
    """
    from electra_tf import files
    from electra_tf.beam import collections  # noqa: F401 - if Beam is there
    from electra_tf.tasks import documents, formats

    if files.is_directory(patterns) and (
        formats.is_folder(patterns) or documents.class_folders(patterns)
    ):
        return [patterns]
    return files.expand(patterns)


def answered(
    paths: Sequence[str],
    output: str,
    how: Spread,
    *,
    load: "Loader",
    read: "Loader",
    write: "Loader",
    group: int,
    about: Mapping[str, Any],
    loaded: Callable[[], Any],
    renewed: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    last: Sequence[str] = ("error",),
) -> Answered:
    """Computes results for the rows of files on Beam, written in shards.

    Args:
      paths: paths of the files.
      output: name of the output.
      how: how the work is distributed.
      load: see `sharded.Job`.
      read: see `sharded.Job`.
      write: see `sharded.Job`.
      group: see `sharded.Job`.
      about: what decides the results, except the files.
      loaded: this process' own result of `load`, if any.
      renewed: see `resumable.begin`.
      last: see `sharded.Job`.

    Raises:
      UserError: the output exists, or a worker failed.
    """
    from electra_tf.beam import collections
    from electra_tf.prediction import resumable, sharded

    files = [resumable.identity(path) for path in paths]
    job = _job(paths, output, how, load, read, write, group, tuple(last))
    sharded.check_output(job, how.overwrite)
    with _begun(job, how, {**about, "inputs": files}, loaded, renewed):
        found = collections.run(job, how.beam_args, how.num_workers, how.note)
        manifest = sharded.close(job, found.shards)
    shards = manifest["shards"]
    errors = [shard["first_error"] for shard in shards if shard["errors"]]
    return Answered(
        job.pattern,
        job.manifest,
        manifest["rows"],
        manifest["errors"],
        errors[0] if errors else None,
        _sums(shards),
    )


@contextlib.contextmanager
def answered_lines(
    inputs: Sequence[str],
    output: str,
    how: Spread,
    *,
    load: "Loader",
    read: "Loader",
    group: int,
    about: Mapping[str, Any],
    loaded: Callable[[], Any],
) -> Iterator[Callable[[int], Iterator[bytes]]]:
    """Computes results on Beam for a single output of this process.

    Args:
      inputs: values of `path` for `read`.
      output: the output; until it is complete the results are in
        `<output>.partial`, which is removed when the block ends without error.
      how: how the work is distributed.
      load: see `sharded.Job`.
      read: see `sharded.Job`.
      group: see `sharded.Job`.
      about: what decides the results.
      loaded: this process' own result of `load`, if any.

    Yields:
      A function that reads the results of an input, by its number, as lines of
      JSON.
    """
    from electra_tf import files
    from electra_tf.beam import collections
    from electra_tf.prediction import sharded

    job = _job(inputs, output, how, load, read, None, group, ())
    with _begun(job, how, about, loaded, dict):
        found = collections.run(job, how.beam_args, how.num_workers, how.note)

        def lines(number: int) -> Iterator[bytes]:
            shards = [s for s in found.plan if s[0] == number]
            return sharded.lines_of(job, shards)

        yield lines
        files.remove(job.partial)


def _job(
    inputs: Sequence[str],
    output: str,
    how: Spread,
    load: "Loader",
    read: "Loader",
    write: "Loader | None",
    group: int,
    last: tuple[str, ...],
) -> "Job":
    from electra_tf.prediction import sharded

    return sharded.Job(
        key=uuid.uuid4().hex,
        inputs=tuple(inputs),
        target=output,
        load=load,
        read=read,
        write=write,
        group=group,
        rows_per_shard=sharded.whole_groups(how.rows_per_shard, group),
        threads=None if _is_here(how) else 1,
        last=last,
    )


def _is_here(how: Spread) -> bool:
    """Returns whether this process is the worker."""
    return not how.beam_args and how.num_workers == 1


@contextlib.contextmanager
def _begun(
    job: "Job",
    how: Spread,
    about: Mapping[str, Any],
    loaded: Callable[[], Any],
    renewed: Callable[[dict[str, Any]], dict[str, Any]],
) -> Iterator[None]:
    """Finds a job's finished shards, and lends what this process has loaded.

    No other process can work on that output until the block ends.
    """
    from electra_tf import files
    from electra_tf.data import beam_runs
    from electra_tf.prediction import held, resumable

    beam_runs.check(how.beam_args, how.num_workers)
    sizes = {"rows in a shard": job.rows_per_shard, "in a group": job.group}
    resumable.begin(job.partial, sizes | dict(about), how.note, renewed)
    try:
        if _is_here(how):
            held.keep(job.key, loaded())
        with sigterm_interrupts():
            yield
    finally:
        held.drop(job.key)
        files.release(job.partial)


def _sums(shards: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for shard in shards:
        for name, value in shard.get("sums", {}).items():
            total[name] = total.get(name, 0) + value
    return total
