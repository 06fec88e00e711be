"""Runs BertWordPieceTokenizer of Hugging Face `tokenizers` on the same lines.

It runs without offsets (`encode_batch_fast`), its quickest way, in batches of
the size that is quickest here. The measured time does not include turning its
results into lists.

Settings: vocab, lines (a file), batch_size (of the digest), cores.
Requests: {"do": "tokenize"}, {"do": "digest"}.
"""

import hashlib
import os
import struct
import time

from serve import serve

# Lines in a batch; the best size depends on the machine.
_BATCHES = (128, 1024, 8192)


def prepare(settings):
    """Loads the tokenizer and lines; returns facts and the handler."""
    if settings.get("cores") == 1:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import tokenizers

    bert = tokenizers.BertWordPieceTokenizer(settings["vocab"], lowercase=True)
    tokenizer = tokenizers.Tokenizer.from_str(bert.to_str())
    with open(settings["lines"], encoding="utf-8") as handle:
        lines = handle.read().split("\n")

    def encoded(size):
        """Yields the rows of each batch."""
        for i in range(0, len(lines), size):
            yield tokenizer.encode_batch_fast(
                lines[i : i + size], add_special_tokens=False
            )

    def seconds(size):
        started = time.perf_counter()
        for _ in encoded(size):
            pass
        return time.perf_counter() - started

    seconds(_BATCHES[0])  # starts its threads
    best = min(_BATCHES, key=seconds)

    def handle_request(request):
        tokens, digest = 0, hashlib.blake2b(digest_size=16)
        # The digest depends on the batches: use the same as ours.
        digested = request["do"] == "digest"
        for rows in encoded(settings["batch_size"] if digested else best):
            tokens += sum(map(len, rows))
            if digested:
                lengths = [len(row) for row in rows]
                flat = [i for row in rows for i in row.ids]
                digest.update(struct.pack(f"<{len(lengths)}i", *lengths))
                digest.update(struct.pack(f"<{len(flat)}i", *flat))
        return {"tokens": tokens, "digest": digest.hexdigest()}

    version = f"tokenizers {tokenizers.__version__}, batches of {best}"
    return {"version": version}, handle_request


if __name__ == "__main__":
    serve(prepare)
