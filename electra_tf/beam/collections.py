"""Runs a `sharded.Job` on an Apache Beam runner.

    inputs -> groups of rows -> shards -> answers -> what is in each
                                                            |
                                  files of the output <- a plan of all

Finished shards of an earlier run are not computed again.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from electra_tf import files
from electra_tf.data import beam_runs
from electra_tf.data.beam_runs import beam  # reports it if it is missing
from electra_tf.prediction import held, sharded
from electra_tf.prediction.sharded import Group, Job, Shard

_SUMMARY = "summary.json"
_LOOK_SECONDS = 10.0


class Finished(NamedTuple):
    """The result of a run.

    Attributes:
      plan: all shards, in the order of the rows.
      shards: results of `sharded.finish`; empty where the job writes no files.
    """

    plan: list[Shard]
    shards: list[dict[str, Any]]


def run(
    job: Job,
    beam_args: str = "",
    num_workers: int = 1,
    note: Callable[[str], None] = lambda text: None,
) -> Finished:
    """Runs a job whose directory `resumable.begin` has made or found.

    Args:
      job: the job; all workers can reach its paths.
      beam_args: see `beam_runs.run`.
      num_workers: see `beam_runs.run`.
      note: called with messages on progress, and on the cost of the workers'
        starts.

    Raises:
      UserError: see `beam_runs.run`; or a worker failed.
    """
    before = sharded.done(job)
    if before:
        note(f"resuming: {len(before):,} shards are finished, in {job.partial}")
    with _Watch(job, len(before), note):
        beam_runs.run(
            lambda pipeline: _compose(pipeline, job, before),
            beam_args,
            num_workers,
            job.partial,
        )
    text = files.read_text(files.join(job.partial, _SUMMARY))
    summary = json.loads(text)
    plan = [(int(number), int(index)) for number, index in summary["plan"]]
    workers = [held.Cost(*cost) for cost in summary["workers"]]
    now = len(plan) - len(before)
    note(
        f"{now:,} of {len(plan):,} shards were predicted in this "
        f"run{_costs(workers)}"
    )
    return Finished(plan, summary["shards"])


def _costs(workers: list[held.Cost]) -> str:
    """Describes the cost of starting worker processes."""
    if not workers:
        return ""
    most = held.Cost("", *map(max, zip(*(cost[1:] for cost in workers))))
    many = f"{len(workers):,} processes" if len(workers) > 1 else "1 process"
    return (
        f", by {many}; the model was loaded once in each: at most "
        f"{most.seconds:.1f} s, {most.since_start:.1f} s after the process "
        f"began, and {most.megabytes:,.0f} MB of memory then"
    )


def _compose(pipeline: beam.Pipeline, job: Job, before: list[Shard]) -> None:
    answered = (
        pipeline
        | "Inputs" >> beam.Create(list(range(len(job.inputs))))
        | "SpreadInputs" >> beam.Reshuffle()
        | "Read"
        >> beam.FlatMap(_groups, job, before).with_output_types(
            tuple[Shard, Group]
        )
        | "Group" >> beam.GroupByKey()
        | "Answer" >> beam.Map(_answer, job)
    )
    there = (
        pipeline
        | "Before" >> beam.Create(before)
        | "SpreadBefore" >> beam.Reshuffle()
        | "Look" >> beam.Map(_head, job)
    )
    heads = (
        (answered, there)
        | "All" >> beam.Flatten()
        | "List" >> beam.combiners.ToList()
    )
    planned = heads | "Plan" >> beam.Map(sharded.plan, job)
    if job.write is None:
        written = planned | "NoFiles" >> beam.Map(lambda plan: [])
    else:
        written = _written(planned, job)
    _ = written | "Summary" >> beam.Map(
        _write_summary,
        beam.pvalue.AsSingleton(planned),
        beam.pvalue.AsSingleton(heads),
        job,
    )


def _written(planned: Any, job: Job) -> Any:
    return (
        planned
        | "Shards" >> beam.FlatMap(lambda plan: plan.shards)
        | "SpreadShards" >> beam.Reshuffle()
        | "Write" >> beam.Map(_finish, job, beam.pvalue.AsSingleton(planned))
        | "ListFiles" >> beam.combiners.ToList()
    )


def _groups(
    number: int, job: Job, skip: list[Shard]
) -> Iterator[tuple[Shard, Group]]:
    return sharded.groups(job, number, skip)


def _answer(element: tuple[Shard, Iterable[Group]], job: Job) -> dict[str, Any]:
    return sharded.answer(job, *element)


def _head(shard: Shard, job: Job) -> dict[str, Any]:
    return sharded.head_of(job, shard)


def _finish(shard: Shard, job: Job, plan: sharded.Plan) -> dict[str, Any]:
    return sharded.finish(job, shard, plan)


def _write_summary(
    shards: list[Mapping[str, Any]],
    plan: sharded.Plan,
    heads: list[Mapping[str, Any]],
    job: Job,
) -> None:
    found = {
        "plan": plan.shards, "shards": shards,
        "workers": sharded.workers(heads),
    }  # fmt: skip
    files.write_text(files.join(job.partial, _SUMMARY), json.dumps(found))


class _Watch:
    """Reports periodically how many shards are finished."""

    def __init__(self, job: Job, before: int, note: Callable[[str], None]):
        self._job, self._reported, self._note = job, before, note
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._thread.join(_LOOK_SECONDS)

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                count = len(sharded.done(self._job))
            except Exception:  # a run must not fail because of a report
                continue
            if count > self._reported:
                self._reported = count
                self._note(
                    f"{count:,} shards of about {self._job.rows_per_shard:,} "
                    "rows are predicted"
                )
