"""Asks a classifier or regressor by REST with `:classify` or `:regress`.

  python classify_rest_client.py http://127.0.0.1:8501 MODEL "a text" [...]

TensorFlow Serving asks by these methods the signatures that are made for them
(`classification` and `regression` of an export). This uses what it documents
and Python's standard library, and so asks `electra-tf serve` and
`tensorflow_model_server` alike. A line of JSON is printed for each text: its
labels with their probabilities, or its number.
"""

import json
import sys
import urllib.request
from typing import Any

METHODS = {"classification": "classify", "regression": "regress"}


def asked(url: str, body: Any = None) -> Any:
    """The JSON that is answered to a GET, or to a POST of `body`."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=60) as answer:
        return json.load(answer)


def main(server: str, model: str, *texts: str) -> None:
    """Prints what the model says of each text."""
    base = f"{server}/v1/models/{model}"
    metadata = asked(f"{base}/metadata")["metadata"]["signature_def"]
    signature = next(n for n in METHODS if n in metadata["signature_def"])
    found = asked(
        f"{base}:{METHODS[signature]}",
        {
            "signature_name": signature,
            "examples": [{"text": text} for text in texts],
        },
    )
    for result in found["results"]:
        print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
