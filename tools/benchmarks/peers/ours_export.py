"""Calls an export that takes texts, as a service does: batches of strings.

Settings: export (a version's directory), texts (a .json list), batch_size,
cores.
Requests: {"do": "batches"}: all texts once, in their order; replies with
`milliseconds` of each call. {"do": "one", "text": ..., "calls": n}: the same
for calls with the one text. {"do": "answers"}: probabilities of all texts.
"""

import json
import time

from serve import serve


def prepare(settings):
    """Loads the export and warms it up; returns facts and the handler."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the operations

    with open(settings["texts"], encoding="utf-8") as handle:
        texts = json.load(handle)
    size = settings["batch_size"]
    batches = [texts[i : i + size] for i in range(0, len(texts), size)]
    model = tf.saved_model.load(settings["export"])
    answer = model.signatures["serving_default"]

    def call(batch):
        started = time.perf_counter()
        found = answer(text=tf.constant(batch))["probabilities"].numpy()
        return found, 1e3 * (time.perf_counter() - started)

    for batch in batches[:4]:
        call(batch)

    def handle_request(request):
        if request["do"] == "one":
            calls = [call([request["text"]]) for _ in range(request["calls"])]
            return {"milliseconds": [ms for _, ms in calls]}
        found = [call(batch) for batch in batches]
        if request["do"] == "answers":
            return {"answers": [row.tolist() for f, _ in found for row in f]}
        return {"milliseconds": [ms for _, ms in found]}

    return {"version": f"tensorflow {tf.__version__}"}, handle_request


if __name__ == "__main__":
    serve(prepare)
