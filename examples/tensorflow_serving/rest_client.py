"""Asks a text classifier by REST, with Python's standard library alone.

  python rest_client.py http://127.0.0.1:8501 MODEL "a text" ["another" ...]

It uses what TensorFlow Serving documents of its REST interface and nothing
else, so that it asks `electra-tf serve` and `tensorflow_model_server` alike.
One line of JSON is printed: the state of the model's versions, the names of
its signatures, and its answers by row and by column.
"""

import json
import sys
import urllib.request
from typing import Any


def asked(url: str, body: Any = None) -> Any:
    """The JSON that is answered to a GET, or to a POST of `body`."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=60) as answer:
        return json.load(answer)


def main(server: str, model: str, *texts: str) -> None:
    """Prints what the server says of the model, and of the texts."""
    base = f"{server}/v1/models/{model}"
    status = asked(base)["model_version_status"]
    # Others are listed too, such as one that could not be loaded.
    version = max(
        int(each["version"]) for each in status if each["state"] == "AVAILABLE"
    )
    metadata = asked(f"{base}/metadata")["metadata"]["signature_def"]
    rows = asked(f"{base}:predict", {"instances": [{"text": t} for t in texts]})
    columns = asked(
        f"{base}/versions/{version}:predict",
        {
            "signature_name": "serving_default",
            "inputs": {"text": list(texts)},
        },
    )
    print(
        json.dumps(
            {
                "states": [each["state"] for each in status],
                "signatures": sorted(metadata["signature_def"]),
                "predictions": rows["predictions"],
                "outputs": columns["outputs"],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
