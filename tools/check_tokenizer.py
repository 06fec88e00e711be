"""Compares the tokenizer with Hugging Face `tokenizers`, line by line.

    python tools/check_tokenizer.py --vocab=vocab.txt 'books/*.txt'

The peer is built like its `BertWordPieceTokenizer`, with two changes to match
the original: words have up to 200 characters (not 100), and "[MASK]" in a text
is plain text. Prints how many lines are equal, the code points that explain
the others, and MB per second of process CPU time on one thread.
"""

import collections
import glob
import os
import time
import unicodedata
from collections.abc import Iterator

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("vocab", None, "vocabulary file", required=True)
flags.DEFINE_bool("lower_case", True, "lower-case the text")
flags.DEFINE_integer("batch", 2000, "lines tokenized in one call")
flags.DEFINE_integer("show", 5, "differing lines to print in full")
flags.DEFINE_bool("offsets", False, "also check offsets against the ids")


def read_batches(paths: list[str], size: int) -> Iterator[list[str]]:
    """Yields lines of the files, `size` at a time; replaces invalid UTF-8."""
    batch: list[str] = []
    for path in paths:
        with open(path, "rb") as handle:
            for line in handle:
                line = line.rstrip(b"\r\n")
                batch.append(line.decode("utf-8", "replace"))
                if len(batch) == size:
                    yield batch
                    batch = []
    if batch:
        yield batch


def build_peer(tokens: tuple[str, ...], lower_case: bool):
    """Builds the tokenizer of Hugging Face to compare with."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers

    peer = tokenizers.Tokenizer(
        models.WordPiece(
            {token: i for i, token in enumerate(tokens)},
            unk_token="[UNK]",
            max_input_chars_per_word=200,
        )
    )
    peer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    peer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return peer


def peer_ids(peer, lines: list[str]) -> list[list[int]]:
    """Returns the peer's token ids of each line."""
    encoded = peer.encode_batch_fast(lines, add_special_tokens=False)
    return [line.ids for line in encoded]


def main(arguments: list[str]) -> None:
    """Compares the tokenizers on the files; prints the differences."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from electra_tf.text.tokenizer import Tokenizer

    paths = sorted(p for a in arguments[1:] for p in glob.glob(a))
    if not paths:
        raise app.UsageError("give files to compare on")
    ours = Tokenizer(FLAGS.vocab, lower_case=FLAGS.lower_case)
    peer = build_peer(ours.vocab.tokens, FLAGS.lower_case)
    explains: dict[str, bool] = {}
    characters: collections.Counter[str] = collections.Counter()
    lines = different = unexplained = size = tokens = 0
    seconds = 0.0
    for batch in read_batches(paths, FLAGS.batch):
        tensor = tf.constant(batch)
        started = time.process_time()
        ragged = ours(tensor)
        seconds += time.process_time() - started
        got = ragged.to_list()
        tokens += ragged.flat_values.shape[0]
        if FLAGS.offsets:
            assert ours.tokenize_with_offsets(tensor).ids.to_list() == got
        size += sum(len(line.encode()) for line in batch)
        lines += len(batch)
        for line, a, b in zip(batch, got, peer_ids(peer, batch), strict=True):
            if a == b:
                continue
            different += 1
            unknown = [c for c in set(line) if c not in explains]
            probes = [f"a{c}b" for c in unknown]
            for c, x, y in zip(
                unknown, ours(probes).to_list(), peer_ids(peer, probes)
            ):
                explains[c] = x != y
            found = {c for c in line if explains[c]}
            characters.update(found)
            if not found:
                unexplained += 1
            if different <= FLAGS.show:
                print("differs:", line[:200])
                print("  ours:", [ours.vocab.tokens[i] for i in a][:60])
                print("  peer:", [ours.vocab.tokens[i] for i in b][:60])
    print(f"{len(paths)} files, {lines} lines, {tokens} tokens")
    print(f"equal {lines - different}, different {different}")
    print(f"different and not explained by a code point: {unexplained}")
    for c, n in characters.most_common():
        name = unicodedata.name(c, "unnamed")
        kind = unicodedata.category(c)
        print(f"  U+{ord(c):04X} {kind} {name}: {n} lines")
    print(f"{size / 1e6 / seconds:.1f} MB/s of CPU time, one thread")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(main)
