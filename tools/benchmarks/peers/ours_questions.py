"""Turns questions into features by electra_tf, from the file to the arrays.

Settings: vocab, questions (a JSON file), max_seq_length, doc_stride,
max_query_length, cores.
Requests: {"do": "features"}, {"do": "digest"}.
"""

import hashlib
import itertools

from serve import serve


def prepare(settings):
    """Loads the task and warms it up; returns facts and the handler."""
    import tensorflow as tf

    from electra_tf.tasks.qa.task import QuestionAnswering
    from electra_tf.text.tokenizer import Tokenizer
    from electra_tf.text.vocab import load_vocab

    tokenizer = Tokenizer(load_vocab(settings["vocab"]))
    names = ("max_seq_length", "doc_stride", "max_query_length")
    task = QuestionAnswering(
        "squad",
        QuestionAnswering.Options(
            validation_file=settings["questions"],
            **{name: settings[name] for name in names},
        ),
    )
    few = task.read("validation")[:50]
    task.features(tokenizer, few, training=True)  # for tracing and caches

    def handle_request(request):
        examples = task.read("validation")
        made = task.features(tokenizer, examples, training=True)
        digest = hashlib.blake2b(digest_size=16)
        if request["do"] == "digest":
            ids, splits = made.tokens["input_ids"], made.row_splits
            for start, end in itertools.pairwise(splits):
                row = ids[start:end].tolist()
                digest.update(bytes(str(row), "ascii"))
        return {"rows": len(made), "digest": digest.hexdigest()}

    return {"version": f"tensorflow {tf.__version__}"}, handle_request


if __name__ == "__main__":
    serve(prepare)
