"""Asks a classifier, regressor or ranker by REST: `:classify` or `:regress`.

  python classify_rest_client.py http://127.0.0.1:8501 MODEL "a text" [...]
  python classify_rest_client.py http://127.0.0.1:8501 MODEL \\
      '{"query": "a question", "passage": "a text"}' [...]

TensorFlow Serving asks by these methods the signatures that are made for them
(`classification` and `regression` of an export). This uses what it documents
and Python's standard library, and so asks `electra-tf serve` and
`tensorflow_model_server` alike. A model of two texts takes an object for each
row, by the names of its texts. A line of JSON is printed for each row: its
labels with their probabilities, or its number.
"""

import json
import sys
import urllib.error
import urllib.request
from typing import Any

METHODS = {"classification": "classify", "regression": "regress"}


def asked(url: str, body: Any = None) -> Any:
    """The JSON that is answered to a GET, or to a POST of `body`."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(url, data, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{error}: {error.read().decode(errors='replace')}")


def row_of(word: str) -> dict[str, str]:
    """Returns an object of texts; any other word is a text alone."""
    try:
        found = json.loads(word)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"text": word}


def main(server: str, model: str, *rows: str) -> None:
    """Prints what the model says of each row."""
    base = f"{server}/v1/models/{model}"
    metadata = asked(f"{base}/metadata")["metadata"]["signature_def"]
    found = metadata["signature_def"]
    signature = next((name for name in METHODS if name in found), None)
    if signature is None:
        sys.exit(f"{model} has neither of {', '.join(METHODS)}: {list(found)}")
    answer = asked(
        f"{base}:{METHODS[signature]}",
        {"signature_name": signature, "examples": [*map(row_of, rows)]},
    )
    for result in answer["results"]:
        print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
