"""What builds have in common on Apache Beam: pipelines, files as parts, words.

A build is composed in a process that has Beam, and runs on any runner; what
its workers complain of comes back as a `UserError`.
"""

import contextlib
import json
import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text import corpus
from electra_tf.text.cleaning import Cleaning
from electra_tf.text.vocab_training import count_words

try:
    import apache_beam as beam
    from apache_beam.options import pipeline_options
except ImportError as error:
    raise UserError(
        f"--runner=beam needs the package apache-beam ({error}); install "
        "it: pip install 'electra-tf[beam]'"
    ) from error

# Of Beam's own Python runner; `DirectRunner` first asks for a program that it
# downloads.
_HERE = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_USER_ERROR = re.compile(r"UserError: (.*?)(?: \[while running|\n|$)")
# Files that counts of words come in; each is read back by itself.
_COUNT_FILES = 16


def run(
    compose: Callable[[beam.Pipeline], None],
    beam_args: str = "",
    num_workers: int = 1,
) -> None:
    """Composes a pipeline, runs it, and waits for its end.

    Args:
      compose: adds the transforms.
      beam_args: Beam's own flags, as on a command line. Without --runner the
        pipeline runs in processes of this machine.
      num_workers: how many these are.

    Raises:
      UserError: Beam does not know the runner or a flag, or a worker raised
        one.
    """
    words = shlex.split(beam_args)
    if not any(re.match(r"--runner\b", word) for word in words):
        mode = "multi_processing" if num_workers > 1 else "in_memory"
        words += [
            f"--runner={_HERE}",
            f"--direct_num_workers={num_workers}",
            f"--direct_running_mode={mode}",
        ]
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    try:
        options = pipeline_options.PipelineOptions(words)
        pipeline = beam.Pipeline(options=options)
    except (ValueError, ImportError, AttributeError, SystemExit) as error:
        raise UserError(f"--beam_args={beam_args}: {error}") from error
    compose(pipeline)
    try:
        with _quiet_workers():
            state = pipeline.run().wait_until_finish()
    except Exception as error:  # each runner has its own
        raise _explained(error) from error
    if state not in (None, "DONE"):
        raise UserError(
            f"--beam_args={beam_args}: the pipeline ended as {state}; see its "
            "runner's log"
        )


class Parts(NamedTuple):
    """Two collections.

    Attributes:
      parts: ((file's number, part's number in it), `corpus.Part`).
      counts: a Counter for each file: `corpus.Reader.counts`.
    """

    parts: Any
    counts: Any


def read_parts(
    pipeline: beam.Pipeline, paths: list[str], **options: Any
) -> Parts:
    """The parts of all files, spread over the workers.

    Args:
      pipeline: what they are added to.
      paths: each is read by one worker, from its beginning to its end.
      **options: of `corpus.Reader`.
    """
    found = (
        pipeline
        | "Paths" >> beam.Create(list(enumerate(paths)))
        | "SpreadFiles" >> beam.Reshuffle()
        | "Read" >> beam.FlatMap(_read_file, options).with_outputs(
            "counts", main="parts"
        )
    )  # fmt: skip
    return Parts(found.parts | "SpreadParts" >> beam.Reshuffle(), found.counts)


def _read_file(
    element: tuple[int, str], options: dict[str, Any]
) -> Iterator[Any]:
    number, path = element
    reader = corpus.Reader([path], **options)
    for index, part in enumerate(reader):
        yield (number, index), part
    yield beam.pvalue.TaggedOutput("counts", Counter(reader.counts))


def count_words_of(
    paths: list[str],
    scratch: str,
    *,
    lower_case: bool,
    strip_accents: bool | None,
    text_field: str,
    beam_args: str = "",
    num_workers: int = 1,
) -> Counter[str]:
    """What `text.vocab_training.count_words` counts, on an Apache Beam runner.

    Nothing is forgotten, however many different words there are.

    Args:
      paths: text files that all workers reach.
      scratch: a directory that all workers and this process reach; it is
        made, and removed.
      lower_case: see `count_words`.
      strip_accents: see there.
      text_field: of JSON lines.
      beam_args: see `run`.
      num_workers: see there.

    Raises:
      UserError: see `run`.
    """

    def compose(pipeline: beam.Pipeline) -> None:
        _ = (
            read_parts(pipeline, paths, text_field=text_field).parts
            | "Words"
            >> beam.FlatMap(_words, lower_case, strip_accents, text_field)
            | "Count" >> beam.CombinePerKey(sum)
            | "IntoFiles" >> beam.Map(_with_file)
            | "Group" >> beam.GroupByKey()
            | "Write" >> beam.Map(_write_counts, scratch)
        )

    files.remove(scratch)
    files.make_directory(scratch)
    try:
        run(compose, beam_args, num_workers)
        counts: Counter[str] = Counter()
        for name in sorted(files.list_directory(scratch)):
            text = files.read_text(files.join(scratch, name))
            counts.update(json.loads(text))
    finally:
        files.remove(scratch)
    return counts


def _words(
    element: tuple[tuple[int, int], corpus.Part],
    lower_case: bool,
    strip_accents: bool | None,
    text_field: str,
) -> Iterator[tuple[str, int]]:
    _, part = element
    repairs: Counter[str] = Counter()
    lines = (
        line.decode("utf-8").strip()
        for found in corpus.documents(part, Cleaning(), repairs, text_field)
        for line in found
    )
    yield from count_words(lines, lower_case, strip_accents).items()


def _with_file(element: tuple[str, int]) -> tuple[int, tuple[str, int]]:
    # `hash` differs from process to process.
    return sum(element[0].encode()) % _COUNT_FILES, element


def _write_counts(
    element: tuple[int, Iterable[tuple[str, int]]], scratch: str
) -> Any:
    number, words = element
    path = files.join(scratch, f"{number:02d}.json")
    files.write_text(path, json.dumps(dict(sorted(words))))
    return number


@contextlib.contextmanager
def _quiet_workers() -> Iterator[None]:
    """For processes that are started here: no notices, no GPU."""
    ours = {
        "PIPELINE_OPTIONS": json.dumps(
            {"default_sdk_harness_log_level": "ERROR"}
        ),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _explained(error: Exception) -> Exception:
    """The user's mistake, where a worker told one, however it was wrapped."""
    if isinstance(error, UserError):
        text = str(error).partition(" [while running")[0]
        return UserError(text)
    told = _USER_ERROR.findall(str(error))
    return UserError(told[-1]) if told else error
