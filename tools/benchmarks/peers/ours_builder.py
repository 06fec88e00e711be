"""Runs `electra-tf build-data` in a process that is already warm.

Settings: vocab, lines (a file, or a glob), max_seq_length, num_workers, cores,
scratch (a folder for the data; null: the system's temporary folder).
Requests: {"do": "build"}.
"""

import json
import os
import tempfile

from serve import serve


def prepare(settings):
    """Builds once to warm up; returns facts and the handler."""
    import tensorflow as tf

    from electra_tf import build_data

    def build(text, output):
        build_data(
            text,
            settings["vocab"],
            output,
            max_seq_length=settings["max_seq_length"],
            num_workers=settings["num_workers"],
            progress=False,
        )

    def handle_request(request):
        scratch = settings.get("scratch")
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            output = os.path.join(folder, "data")
            build(settings["lines"], output)
            with open(os.path.join(output, "manifest.json")) as handle:
                return {"manifest": json.load(handle)}

    # A first build, for imports, tracing and caches.
    with tempfile.TemporaryDirectory() as folder:
        text = os.path.join(folder, "warm.txt")
        with open(text, "w") as handle:
            handle.write("A few words to warm up with.\n" * 200)
        build(text, os.path.join(folder, "data"))
    return {"version": f"tensorflow {tf.__version__}"}, handle_request


if __name__ == "__main__":
    serve(prepare)
