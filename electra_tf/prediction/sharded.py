"""Answers for large collections, shard by shard, by whichever process.

The rows of each input are cut into shards, and those into the groups that one
process alone would answer together. While they are made, what is done stands
beside the output:

    <output>.partial/about.json         what decides the answers
    <output>.partial/FFFFF-SSSSS.jsonl  shard S of input F: what is in it, then
                                        an answer a line

When all are there they become files of the output's format, and last comes a
manifest. Each file is renamed into place whole: those that are there are good
whenever a process dies, and are not made again. Importing this module imports
no TensorFlow.
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

Shard = tuple[int, int]  # number of the input, and of the shard in it
Group = tuple[int, list[Any]]  # row of the first from 0, and the rows
_COUNT = -1  # stands for the shard's number in an input's count of rows
_PART = re.compile(r"(\d{5,})-(\d{5,})\.jsonl")
_ERROR = "error"
MANIFEST = ".manifest.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """What is done to a collection; it can be pickled.

    Attributes:
      key: tells this job from others.
      inputs: paths.
      target: the output's name. Of `answers.jsonl` the files are
        `answers-00000-of-00002.jsonl`, and so on.
      load: loads what has `answer(rows, number of the first from 1)`, and
        `head()`, what is in those that were answered since it was asked last;
        see `row_answers.RowAnswers`.
      read: is called with a path in the arguments; yields its rows.
      write: is called with `path`, `columns`, `rows` (lines of JSON) and
        `count` (of these) in the arguments; writes a file. None where the
        answers stay what they are.
      group: rows that are answered together.
      rows_per_shard: a multiple of that.
      threads: that a worker computes in; see `held.using`.
      last: columns that come after all others, and are always there.
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
        """The directory of what is done."""
        return f"{self.target}.partial"

    def path(self, place: int, of: int) -> str:
        """Returns the file of a shard, by its place among all of them."""
        stem, suffix = split_name(self.target)
        return f"{stem}-{place:05d}-of-{of:05d}{suffix}"

    @property
    def pattern(self) -> str:
        """What the files of all shards match."""
        stem, suffix = split_name(self.target)
        return f"{stem}-*-of-*{suffix}"

    @property
    def manifest(self) -> str:
        """The file that is written last."""
        return split_name(self.target)[0] + MANIFEST


class Plan(NamedTuple):
    """What is known when all shards are answered.

    Attributes:
      shards: all of them, in the order of the rows.
      columns: of the output, in order.
    """

    shards: list[Shard]
    columns: list[str]


def whole_groups(rows_per_shard: int, group: int) -> int:
    """Rounds up to a multiple of a group."""
    return -(-rows_per_shard // group) * group


def split_name(path: str) -> tuple[str, str]:
    """ "x/a.b.jsonl.gz" -> "x/a.b", ".jsonl.gz"."""
    plain = inputs.plain_name(path)
    dot = plain.rfind(".")
    if dot <= plain.rfind("/") + 1:
        return path, ""
    return path[:dot], path[dot:]


def check_output(job: Job, overwrite: bool) -> None:
    """Refuses to replace a finished output unasked, and an input ever.

    Raises:
      UserError: it is there, or an input has the name of a file of it.
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
    """Returns the shards whose answers are there."""
    names = map(_PART.fullmatch, files.list_directory(job.partial))
    return [(int(name[1]), int(name[2])) for name in names if name]


def groups(
    job: Job, number: int, skip: Iterable[Shard] = ()
) -> Iterator[tuple[Shard, Group]]:
    """Yields the groups of an input, each with its shard; last, its count.

    Args:
      job: what is done.
      number: of the input.
      skip: shards whose groups are not wanted.
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
    """Answers the groups of a shard, in whatever order they come.

    A count is passed on as it is.

    Returns:
      What is in the shard, as `heads` gives it again.
    """
    number, index = shard
    if index == _COUNT:
        return {"shard": [number, index], "rows": sum(n for n, _ in parts)}
    lines = []
    with held.using(job.key, job.load, job.threads) as (answerer, cost):
        answerer.head()  # of a try that failed nothing is counted
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
    """Returns what is in a shard that was answered before."""
    with files.open_read(_part(job, shard)) as handle:
        head = dict(json.loads(next(records.lines(handle))))
    del head["cost"]  # of a process that is no more
    return head


def plan(heads: Iterable[Mapping[str, Any]], job: Job) -> Plan:
    """Plans the files, when all shards are answered.

    Args:
      heads: of all shards, and the counts of all inputs.
      job: what is done.

    Raises:
      UserError: there are not as many answers as rows.
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
            f"the runner lost or doubled rows: {sum(counts.values()):,} were "
            f"read, {sum(found.values()):,} are answered; take another runner "
            "of Beam"
        )
    first = [name for name in columns if name not in job.last]
    named = [*first, *(n for n in later if n not in (*columns, *job.last))]
    return Plan(shards, [*named, *job.last])


def finish(job: Job, shard: Shard, plan: Plan) -> dict[str, Any]:
    """Writes a shard's file of the output; what the manifest says of it."""
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
    """Yields the answers of shards as lines of JSON."""
    for shard in shards:
        with files.open_read(_part(job, shard)) as handle:
            lines = records.lines(handle)
            next(lines)
            yield from lines


def close(job: Job, shards: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Writes the manifest, and removes what stood beside the output.

    Files of an output that is replaced go too.

    Args:
      job: what was done.
      shards: what `finish` told of all of them.

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
    """Returns the files that a manifest names; none where there is none."""
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
    """Returns the processes that answered in this run, and what their starts
    took.
    """
    found: Sequence[held.Cost] = [
        held.Cost(*head["cost"]) for head in heads if "cost" in head
    ]
    return sorted(set(found))
