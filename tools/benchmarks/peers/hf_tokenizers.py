"""Hugging Face `tokenizers`: BertWordPieceTokenizer on the same lines.

It runs without offsets (`encode_batch_fast`), its quickest way, and what it
returns is not turned into lists within the measured time.

Settings: vocab, lines (a file), batch_size, cores.
Requests: {"do": "tokenize"}, {"do": "digest"}.
"""

import hashlib
import os
import struct

from serve import serve


def prepare(settings):
    if settings.get("cores") == 1:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import tokenizers

    bert = tokenizers.BertWordPieceTokenizer(settings["vocab"], lowercase=True)
    tokenizer = tokenizers.Tokenizer.from_str(bert.to_str())
    with open(settings["lines"], encoding="utf-8") as handle:
        lines = handle.read().split("\n")
    size = settings["batch_size"]
    batches = [lines[i : i + size] for i in range(0, len(lines), size)]

    def handle_request(request):
        tokens, digest = 0, hashlib.blake2b(digest_size=16)
        for batch in batches:
            rows = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            tokens += sum(map(len, rows))
            if request["do"] == "digest":
                lengths = [len(row) for row in rows]
                flat = [i for row in rows for i in row.ids]
                digest.update(struct.pack(f"<{len(lengths)}i", *lengths))
                digest.update(struct.pack(f"<{len(flat)}i", *flat))
        return {"tokens": tokens, "digest": digest.hexdigest()}

    return {"version": f"tokenizers {tokenizers.__version__}"}, handle_request


if __name__ == "__main__":
    serve(prepare)
