"""Asks a server about a file or a few texts, without TensorFlow."""

import contextlib
import itertools
import json
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import IO, Annotated, Any

from electra_tf import files
from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.recipes.arguments import checked
from electra_tf.recipes.lines import check_plain_name
from electra_tf.serving.rows import plain


@checked
def client(
    url: str = "http://127.0.0.1:8501",
    model: str | None = None,
    *,
    version: Annotated[int, Setting(at_least=0)] | None = None,
    label: str | None = None,
    signature: str | None = None,
    text: Sequence[str] = (),
    input: str | None = None,
    output: str | None = None,
    batch_size: Annotated[int, Setting(at_least=1)] = 32,
    timeout: Annotated[float, Setting(at_least=0.001, infinite=True)] = 60.0,
) -> None:
    """Asks a server for answers: electra-tf serve or TensorFlow Serving.

        electra-tf client --url=http://127.0.0.1:8501 --text="a fine film"
        electra-tf client --url=... --input=FILE.jsonl --output=ANSWERS.jsonl

    Prints one JSON value for each row. A row of the file is a text in quotes,
    or an object with the model's inputs ({"question": ..., "context": ...}).
    Without --text and --input it prints what the server serves. An address
    grpc://HOST:8500 speaks gRPC with TensorFlow Serving (the extra `serving`).
    By HTTP it does not import TensorFlow. Programs have `electra_tf.Client`
    and `AsyncClient`.

    Args:
      url: address of the server: http://, https:// or grpc://
      model: its name on the server; not needed if there is only one
      version: version of the model; the newest if not given
      label: label of a version, such as stable, instead of its number
      signature: signature to call, such as embed; the model's main one if not
        given
      text: a text
      input: file with a row of JSON in each line
      output: file for the answers, in place of the screen
      batch_size: rows in a request
      timeout: seconds to wait for an answer

    Raises:
      UserError: a line of the file is not JSON, or the server refused or could
        not be reached.
    """
    from electra_tf.serving.client import Client, ServingError, encoded

    if text and input:
        raise UserError("give --text or --input, not both")
    for flag, path in (("--input", input), ("--output", output)):
        if path and not files.is_local(path):
            raise UserError(
                f"{flag}: {path}: this command has local files alone; copy it"
            )
    if output:
        check_plain_name(output, ".jsonl")
    with (
        Client(
            url, model, version=version, label=label, timeout=timeout
        ) as asked,
        _written(output) as target,
    ):
        if not text and not input:
            for each in asked.models():
                print(json.dumps(each, ensure_ascii=False), file=target)
            return
        rows = _of_file(input) if input else _of_words(text)
        while batch := list(itertools.islice(rows, batch_size)):
            values = [value for _, value in batch]
            try:
                answers = asked.predict(
                    values, signature=signature, batch_size=batch_size
                )
            except ServingError as error:
                if not input and len(text) <= batch_size:
                    raise
                # Servers count the rows of a request.
                place = _span(
                    "line" if input else "text", batch[0][0], batch[-1][0]
                )
                raise ServingError(
                    f"{error} ({place} of {input or '--text'})",
                    error.status,
                    model=error.model,
                    said=error.said,
                ) from error
            for answer in answers:
                line = json.dumps(encoded(answer), ensure_ascii=False)
                print(line, file=target)
            target.flush()


def _of_words(texts: Sequence[str]) -> Iterator[tuple[int, Any]]:
    """Yields the texts of --text, numbered from 1; an error names the flag."""
    for number, text in enumerate(texts, 1):
        yield number, plain(text, "--text")


def _of_file(path: str) -> Iterator[tuple[int, Any]]:
    """Yields (line, row) of a file of JSON lines; an error names the line."""
    try:
        opened = open(path, "rb")
    except OSError as error:
        raise UserError(f"--input: {path}: {error.strerror}") from error
    with opened as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"--input: {path}: line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{place} is not JSON: {error}") from error
            yield number, plain(row, place)


def _span(what: str, first: int, last: int) -> str:
    return f"{what} {first}" if first == last else f"{what}s {first} to {last}"


@contextlib.contextmanager
def _written(path: str | None) -> Iterator[IO[str]]:
    """Yields the screen, or a file that is there once all is written to it."""
    if not path:
        yield sys.stdout
        return
    if os.path.isdir(path):
        raise UserError(f"--output: {path}: is a directory; name a file")
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="utf-8") as handle:  # a pipe, a device
            yield handle
        return
    path = os.path.realpath(path)
    temporary = f"{path}.tmp-{uuid.uuid4().hex[:8]}"
    try:
        handle = open(temporary, "w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: {path}: {error.strerror}") from error
    try:
        with handle:
            yield handle
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
