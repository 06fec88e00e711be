"""Computes results for large collections by shards, in any processes.

The rows of each input are split into shards, and those into the groups that a
single process would compute together. Until all is complete, finished shards
are stored beside the output:

    <output>.partial/about.json         what decides the results
    <output>.partial/FFFFF-SSSSS.jsonl  shard S of input F: what is in it, then
                                        an answer a line

When all exist, they are converted to the output's format, and a manifest is
written last. Each file is renamed into place when complete: existing files are
good whenever a process dies, and are not rebuilt. Importing this module does
not import TensorFlow.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction import held
from electra_tf.prediction.resumable import chunks
from electra_tf.tasks import records
from electra_tf.text import inputs

Shard = tuple[int, int]  # numbers of the input and of its shard
Group = tuple[int, list[Any]]  # number of the first row from 0, and the rows
_COUNT = -1  # in place of a shard's number: the input's count of rows
_PART = re.compile(r"(\d{5,})-(\d{5,})\.jsonl")
_ERROR = "error"
MANIFEST = ".manifest.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """A job on a collection; it can be pickled.

    Attributes:
      key: identifies the job.
      inputs: paths of the inputs.
      target: the output's name. `answers.jsonl` stands for the files
        `answers-00000-of-00002.jsonl` and so on.
      load: loads an object with `answer(rows, number of the first from 1)`, and
        `head()`, a summary of the rows since its last call; see
        `row_answers.RowAnswers`.
      read: called with a path in the arguments; yields its rows.
      write: called with `path`, `columns`, `rows` (lines of JSON) and their
        `count` in the arguments; writes a file. None keeps the results as they
        are.
      group: rows that are computed together.
      rows_per_shard: rows in a shard, a multiple of `group`.
      threads: number of a worker's threads; see `held.using`.
      last: columns that come last and always exist.
    """

    key: str
    inputs: tuple[str, ...]
    target: str
    load: held.Loader
    read: held.Loader
    write: held.Loader | None
    group: int
    rows_per_shard: int
    threads: int | None = None
    last: tuple[str, ...] = (_ERROR,)

    @property
    def partial(self) -> str:
        """The directory of finished shards."""
        return f"{self.target}.partial"

    def path(self, place: int, of: int) -> str:
        """Returns the output file of a shard, by its number among all."""
        stem, suffix = split_name(self.target)
        return f"{stem}-{place:05d}-of-{of:05d}{suffix}"

    @property
    def pattern(self) -> str:
        """A glob that matches the files of all shards."""
        stem, suffix = split_name(self.target)
        return f"{stem}-*-of-*{suffix}"

    @property
    def manifest(self) -> str:
        """The file that is written last."""
        return split_name(self.target)[0] + MANIFEST


class Plan(NamedTuple):
    """The plan of the output's files, when all shards are finished.

    Attributes:
      shards: all shards, in the order of the rows.
      columns: columns of the output, in order.
    """

    shards: list[Shard]
    columns: list[str]


def whole_groups(rows_per_shard: int, group: int) -> int:
    """Rounds rows per shard up to a multiple of a group."""
    return -(-rows_per_shard // group) * group


def split_name(path: str) -> tuple[str, str]:
    """Splits "x/a.b.jsonl.gz" into "x/a.b" and ".jsonl.gz"."""
    plain = inputs.plain_name(path)
    dot = plain.rfind(".")
    if dot <= plain.rfind("/") + 1:
        return path, ""
    return path[:dot], path[dot:]


def check_output(job: Job, overwrite: bool) -> None:
    """Refuses to replace a finished output unless asked, or any input.

    Raises:
      UserError: the output exists, or an input has the name of one of its
        files.
    """
    stem, suffix = (re.escape(part) for part in split_name(_plain(job.target)))
    ours = re.compile(rf"{stem}-\d{{5,}}-of-\d{{5,}}{suffix}")
    for path in job.inputs:
        if ours.fullmatch(_plain(path)):
            raise UserError(
                f"--output: the files of {job.target} are named as the input "
                f"{path}; name another"
            )
    if not overwrite and files.exists(job.manifest):
        raise UserError(
            f"--output: {job.manifest} is there already; name another file, "
            "or give --overwrite"
        )


def done(job: Job) -> list[Shard]:
    """Returns the shards whose results exist."""
    names = map(_PART.fullmatch, files.list_directory(job.partial))
    return [(int(name[1]), int(name[2])) for name in names if name]


def groups(
    job: Job, number: int, skip: Iterable[Shard] = ()
) -> Iterator[tuple[Shard, Group]]:
    """Yields the groups of an input, with their shards; last, its row count.

    Args:
      job: the job.
      number: number of the input.
      skip: shards to leave out.
    """
    unwanted, count = set(skip), 0
    rows = job.read(path=job.inputs[number])
    for group in chunks(rows, job.group):
        shard = number, count // job.rows_per_shard
        if shard not in unwanted:
            yield shard, (count, group)
        count += len(group)
    yield (number, _COUNT), (count, [])


def answer(job: Job, shard: Shard, parts: Iterable[Group]) -> dict[str, Any]:
    """Computes the groups of a shard, in any order.

    An input's row count is passed on unchanged.

    Returns:
      The shard's summary, as from `head_of`.
    """
    number, index = shard
    if index == _COUNT:
        return {"shard": [number, index], "rows": sum(n for n, _ in parts)}
    lines = []
    with held.using(job.key, job.load, job.threads) as (answerer, cost):
        answerer.head()  # forgets the counts of a failed try
        for first, rows in sorted(parts, key=lambda part: part[0]):
            answers = answerer.answer(rows, first + 1)
            lines += [f"{prediction_files.dumps(row)}\n" for row in answers]
        head = dict(answerer.head())
    head |= {
        "shard": [number, index], "rows": len(lines), "cost": list(cost),
    }  # fmt: skip
    text = "".join([f"{prediction_files.dumps(head)}\n", *lines])
    files.write_text(_part(job, shard), text)
    return head


def head_of(job: Job, shard: Shard) -> dict[str, Any]:
    """Returns the summary of a shard that was finished before."""
    with files.open_read(_part(job, shard)) as handle:
        head = dict(json.loads(next(records.lines(handle))))
    del head["cost"]  # of an earlier process
    return head


def plan(heads: Iterable[Mapping[str, Any]], job: Job) -> Plan:
    """Plans the files, when all shards are finished.

    Args:
      heads: summaries of all shards, and row counts of all inputs.
      job: the job.

    Raises:
      UserError: the numbers of results and rows differ.
    """
    ordered = sorted(heads, key=lambda head: head["shard"])
    counts = {h["shard"][0]: h["rows"] for h in ordered if _is_count(h)}
    found = dict.fromkeys(counts, 0)
    columns: dict[str, None] = {}
    later: dict[str, None] = {}
    shards = []
    for head in ordered:
        if not _is_count(head):
            number, index = head["shard"]
            shards.append((number, index))
            found[number] = found.get(number, 0) + head["rows"]
            columns |= dict.fromkeys(head["inputs"])
            later |= dict.fromkeys(head["outputs"])
    if found != counts or len(set(shards)) != len(shards):
        raise UserError(
            f"the runner lost or repeated rows: {sum(counts.values()):,} were "
            f"read, {sum(found.values()):,} were predicted; use another runner "
            "of Beam"
        )
    first = [name for name in columns if name not in job.last]
    named = [*first, *(n for n in later if n not in (*columns, *job.last))]
    return Plan(shards, [*named, *job.last])


def finish(job: Job, shard: Shard, plan: Plan) -> dict[str, Any]:
    """Writes a shard's output file; returns its entry in the manifest."""
    assert job.write is not None
    number, index = shard
    place = plan.shards.index(shard)
    path = job.path(place, len(plan.shards))
    with files.open_read(_part(job, shard)) as handle:
        lines = records.lines(handle)
        head = json.loads(next(lines))
        job.write( path=path, columns=plan.columns, rows=lines,
            count=head["rows"],
        )  # fmt: skip
    digest, size = hashlib.sha256(), 0
    with files.open_read(path) as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
            size += len(block)
    return {
        "file": path.rsplit("/", 1)[-1],
        "input": job.inputs[number],
        "first_row": index * job.rows_per_shard,
        "rows": head["rows"],
        "errors": head["errors"],
        "first_error": head["first_error"],
        **({"sums": head["sums"]} if "sums" in head else {}),
        "bytes": size,
        "sha256": digest.hexdigest(),
    }


def lines_of(job: Job, shards: Iterable[Shard]) -> Iterator[bytes]:
    """Yields the results of shards as lines of JSON."""
    for shard in shards:
        with files.open_read(_part(job, shard)) as handle:
            lines = records.lines(handle)
            next(lines)
            yield from lines


def close(job: Job, shards: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Writes the manifest, and removes the finished shards beside the output.

    Files of a replaced output are removed too.

    Args:
      job: the job.
      shards: results of `finish`.

    Returns:
      The manifest.
    """
    listed = sorted(shards, key=lambda shard: shard["file"])
    made = {
        "format": "electra_tf answers",
        "version": 1,
        "rows": sum(shard["rows"] for shard in listed),
        "errors": sum(shard["errors"] for shard in listed),
        "inputs": list(job.inputs),
        "shards": listed,
    }
    before = _files_of(job.manifest) - {shard["file"] for shard in listed}
    files.write_text(
        job.manifest, json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    )
    folder = job.target.rpartition("/")[0]
    for name in before:
        files.remove(files.join(folder, name))
    files.remove(job.partial)
    return made


def _plain(path: str) -> str:
    return os.path.abspath(path) if files.is_local(path) else path


def _files_of(path: str) -> set[str]:
    """Returns the files that a manifest lists; empty without a manifest."""
    if not files.exists(path):
        return set()
    try:
        listed = json.loads(files.read_text(path))["shards"]
        return {str(shard["file"]) for shard in listed}
    except (ValueError, KeyError, TypeError):
        return set()


def _part(job: Job, shard: Shard) -> str:
    return files.join(job.partial, f"{shard[0]:05d}-{shard[1]:05d}.jsonl")


def _is_count(head: Mapping[str, Any]) -> bool:
    return bool(head["shard"][1] == _COUNT)


def workers(heads: Iterable[Mapping[str, Any]]) -> list[held.Cost]:
    """Returns the processes of this run, with the cost of their starts."""
    found: Sequence[held.Cost] = [
        held.Cost(*head["cost"]) for head in heads if "cost" in head
    ]
    return sorted(set(found))
