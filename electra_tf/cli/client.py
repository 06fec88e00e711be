"""Asks a server for answers: electra-tf serve or TensorFlow Serving.

electra-tf client --url=http://127.0.0.1:8501 --text="a fine film"
electra-tf client --url=... --input=FILE.jsonl --output=ANSWERS.jsonl

Prints one JSON value for each row. A row of the file is a text in quotes, or
an object with the model's inputs ({"question": ..., "context": ...}). Without
--text and --input it tells what the server serves. An address grpc://HOST:8500
speaks gRPC with TensorFlow Serving. Does not start TensorFlow.
"""

from collections.abc import Iterator
from typing import IO, Any

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "url",
    "http://127.0.0.1:8501",
    "address of the server: http://, https:// or grpc://",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "model",
    None,
    "its name on the server; not needed if there is only one",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "version",
    None,
    "of the model; the newest if not given",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "signature",
    None,
    "what to ask for: embed, say; the model's main one if not given",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string("text", [], "a text; repeat", flag_values=FLAGS)
flags.DEFINE_string(
    "input", None, "file with a row of JSON in each line", flag_values=FLAGS
)
flags.DEFINE_string(
    "output",
    None,
    "write the answers here, not to the screen",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "batch_size", 32, "rows in a request", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_float(
    "timeout",
    60.0,
    "seconds to wait for an answer",
    lower_bound=0.001,
    flag_values=FLAGS,
)


def main(flags_: flags.FlagValues) -> int:
    """Reads, asks, prints."""
    import contextlib
    import json
    import sys

    from electra_tf.errors import UserError
    from electra_tf.serving.clients.client import Client

    if flags_.text and flags_.input:
        raise UserError("give --text or --input, not both")
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(
            Client(
                flags_.url,
                flags_.model,
                version=flags_.version,
                timeout=flags_.timeout,
            )
        )
        target: IO[str] = sys.stdout
        if flags_.output:
            target = stack.enter_context(
                open(flags_.output, "w", encoding="utf-8")
            )
        if not flags_.text and not flags_.input:
            for model in client.models():
                print(json.dumps(model, ensure_ascii=False), file=target)
            return 0
        batches = (
            batched(flags_.text, flags_.batch_size)
            if flags_.text
            else batched(rows(flags_.input), flags_.batch_size)
        )
        for batch in batches:
            answers = client.predict(batch, signature=flags_.signature)
            for answer in answers:
                print(
                    json.dumps(shown(answer), ensure_ascii=False), file=target
                )
            target.flush()
    return 0


def rows(path: str) -> Iterator[Any]:
    """The rows of a file of JSON lines.

    Raises:
      UserError: a line is no JSON; it is named.
    """
    import json

    from electra_tf.errors import UserError

    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"--input: {path}: line {number} is not JSON: {error}"
                ) from error


def batched(values: Any, size: int) -> Iterator[list[Any]]:
    """Lists of `size` values, the last maybe shorter."""
    batch = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def shown(value: Any) -> Any:
    """An answer as JSON can hold it: bytes in base64."""
    import base64

    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, dict):
        return {name: shown(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shown(each) for each in value]
    return value
