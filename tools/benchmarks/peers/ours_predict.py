"""Predicts texts by `electra_tf.load(...).predict`, with any engine.

Settings: model (a fine-tuned model directory), texts (a .json list),
batch_size, engine ("tensorflow" or "litert"), precision ("float32" or "int8"),
cores.
Requests: {"do": "file"}: all texts in one call. {"do": "batches"}: one call for
each batch, in order; replies with `milliseconds` of each. {"do": "one",
"text": ..., "calls": n}: `milliseconds` of each call with the one text.
{"do": "answers"}: probabilities of all texts.
"""

import json
import time

from serve import serve


def prepare(settings):
    """Loads the model and warms it up; returns facts and the handler."""
    import tensorflow as tf

    import electra_tf

    with open(settings["texts"], encoding="utf-8") as handle:
        texts = json.load(handle)
    engine = settings["engine"]
    model = electra_tf.load(
        settings["model"],
        engine=engine,
        int8=settings["precision"] == "int8",
    )
    size = settings["batch_size"]
    batches = [texts[i : i + size] for i in range(0, len(texts), size)]
    model.predict(texts)
    for batch in batches[:4]:
        model.predict(batch)

    def timed(calls):
        for texts in calls:
            started = time.perf_counter()
            model.predict(texts)
            yield 1e3 * (time.perf_counter() - started)

    def handle_request(request):
        what = request["do"]
        if what == "batches":
            return {"milliseconds": list(timed(batches))}
        if what == "one":
            calls = [[request["text"]]] * request["calls"]
            return {"milliseconds": list(timed(calls))}
        found = model.predict(texts)
        if what == "answers":
            rows = [list(row["probabilities"].values()) for row in found]
            return {"answers": rows}
        return {}

    version = f"tensorflow {tf.__version__}"
    if engine == "litert":
        import importlib.metadata

        lite = importlib.metadata.version("ai-edge-litert")
        version += f", ai-edge-litert {lite}"
    return {"version": version}, handle_request


if __name__ == "__main__":
    serve(prepare)
