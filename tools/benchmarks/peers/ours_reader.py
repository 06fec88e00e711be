"""Reads and masks pre-training batches from disk, without a training step.

Masking is part of the training step's graph; here it runs without the rest.

Settings: data (a directory that build-data made), batch_size, seq_length,
cores.
Requests: {"do": "read", "count": n}, {"do": "mask", "count": n}: n batches,
read only, or also masked.
"""

from serve import serve


def prepare(settings):
    """Opens the data and warms up; returns facts and the handler."""
    import tensorflow as tf

    from electra_tf.data import reader
    from electra_tf.keras_api.data import PretrainingData
    from electra_tf.pretraining import masking

    special = PretrainingData.open(settings["data"]).special
    batches = reader.pretraining_dataset(
        settings["data"],
        batch_size=settings["batch_size"],
        max_seq_length=settings["seq_length"],
    )

    @tf.function(autograph=False)
    def read(iterator):
        return tf.reduce_sum(next(iterator)["input_ids"])

    @tf.function(autograph=False)
    def mask(iterator):
        batch = next(iterator)
        keys = tf.cast(batch["example_id"], tf.uint32)
        found = masking.mask(batch, masking.MaskingConfig(), special, keys)
        # The sum uses every part: the graph prunes unused outputs.
        return tf.add_n(
            [
                tf.reduce_sum(tf.cast(part, tf.int32))
                for part in found
                if part is not None
            ]
        )

    known, iterator = {"read": read, "mask": mask}, iter(batches)
    for function in known.values():
        for _ in range(20):
            function(iterator)

    def handle_request(request):
        function = known[request["do"]]
        for _ in range(request["count"]):
            total = function(iterator)
        return {"total": int(total)}

    return {"version": f"tensorflow {tf.__version__}"}, handle_request


if __name__ == "__main__":
    serve(prepare)
