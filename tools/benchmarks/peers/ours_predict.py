"""A whole file's texts through `electra_tf.load(...).predict`.

Settings: model (a fine-tuned model directory), texts (a .json list), cores.
Requests: {"do": "batches"}: all texts once. {"do": "answers"}: and their
probabilities.
"""

import json

from serve import serve


def prepare(settings):
    import tensorflow as tf

    import electra_tf

    with open(settings["texts"], encoding="utf-8") as handle:
        texts = json.load(handle)
    model = electra_tf.load(settings["model"])
    model.predict(texts)

    def handle_request(request):
        found = model.predict(texts)
        if request["do"] == "answers":
            rows = [list(row["probabilities"].values()) for row in found]
            return {"answers": rows}
        return {}

    return {"version": f"tensorflow {tf.__version__}"}, handle_request


if __name__ == "__main__":
    serve(prepare)
