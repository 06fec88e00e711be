"""Runs our tokenizer as the data builder does: in graph, batches of lines.

Settings: vocab, lines (a file), batch_size, cores.
Requests: {"do": "tokenize"}, {"do": "digest"}.
"""

import hashlib
import os

from serve import serve


def prepare(settings):
    """Loads the tokenizer and lines; returns facts and the handler."""
    import tensorflow as tf

    from electra_tf.text.tokenizer import Tokenizer
    from electra_tf.text.vocab import load_vocab

    tokenizer = Tokenizer(load_vocab(settings["vocab"]))
    with open(settings["lines"], "rb") as handle:
        lines = tf.constant(handle.read().split(b"\n"))
    cores = settings.get("cores") or os.cpu_count()

    def ids_and_lengths(batch):
        ids = tokenizer(batch)
        return ids.flat_values, ids.row_lengths()

    batches = (
        tf.data.Dataset.from_tensor_slices(lines)
        .batch(settings["batch_size"])
        .map(ids_and_lengths, num_parallel_calls=cores)
        .prefetch(2)
    )

    def handle_request(request):
        tokens, digest = 0, hashlib.blake2b(digest_size=16)
        for ids, lengths in batches:
            tokens += ids.shape[0]
            if request["do"] == "digest":
                digest.update(lengths.numpy().astype("<i4").tobytes())
                digest.update(ids.numpy().astype("<i4").tobytes())
        return {"tokens": tokens, "digest": digest.hexdigest()}

    return {"version": f"tensorflow {tf.__version__}"}, handle_request


if __name__ == "__main__":
    serve(prepare)
