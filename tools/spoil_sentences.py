"""Makes minimal pairs from any text: sentences, and corrupted copies.

  tools/spoil_sentences.py --input='held_out/*.txt' --output=pairs.tsv
  electra-tf minimal-pairs --model=RUN --input=pairs.tsv --method=pll,replaced

Half of the copies have two words swapped; the other half have two words
replaced by others, sampled by their frequency in the text. The same seed gives
the same pairs.
"""

import argparse
import collections
import dataclasses
import random
import re
import sys

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.recipes import lines

_SENTENCE = re.compile(r"[^.!?]+[.!?]+[\"'\u201d\u2019)]*")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_WORDS = range(8, 31)  # lengths of sentences


@dataclasses.dataclass(frozen=True)
class Pair:
    """Holds a sentence and its corrupted copy.

    Attributes:
      kind: "swapped" or "replaced".
      real: the sentence.
      corrupted: the copy, with two changed words.
    """

    kind: str
    real: str
    corrupted: str


def sentences(text: str) -> list[str]:
    """Returns the sentences of 8 to 30 words, each once, in order."""
    found = []
    for line in text.split("\n"):
        if line.startswith("#"):  # a heading
            continue
        for match in _SENTENCE.finditer(line):
            sentence = " ".join(match.group().split())
            if len(_WORD.findall(sentence)) in _WORDS:
                found.append(sentence)
    return list(dict.fromkeys(found))


def make_pairs(text: str, count: int, seed: int) -> list[Pair]:
    """Returns pairs, swapped and replaced in turn.

    Raises:
      UserError: the text has too few sentences.
    """
    rng = random.Random(seed)
    known = sentences(text)
    if len(known) < count:
        raise UserError(
            f"--input: holds {len(known)} sentences of {_WORDS[0]} to "
            f"{_WORDS[-1]} words; {count} are wanted"
        )
    counts = collections.Counter(w.lower() for w in _WORD.findall(text))
    words, weights = list(counts), list(counts.values())
    pairs = []
    for sentence in rng.sample(known, len(known)):
        kind = ("swapped", "replaced")[len(pairs) % 2]
        spans = [match.span() for match in _WORD.finditer(sentence)]
        a, b = sorted(rng.sample(range(len(spans)), 2))
        old = [sentence[slice(*spans[i])] for i in (a, b)]
        if kind == "swapped":
            new = old[::-1]
            if old[0].lower() == old[1].lower():
                continue
        else:
            new = rng.choices(words, weights, k=2)
            if any(n == o.lower() for n, o in zip(new, old)):
                continue
        corrupted = sentence
        # The later word first: the other's offsets then stay valid.
        for i, word in ((b, new[1]), (a, new[0])):
            corrupted = (
                corrupted[: spans[i][0]] + word + corrupted[spans[i][1] :]
            )
        pairs.append(Pair(kind, sentence, corrupted))
        if len(pairs) == count:
            return pairs
    raise UserError(f"--input: no {count} sentences with two different words")


def main() -> int:
    """Makes the pairs and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True, help="text files, globs")
    parser.add_argument("--output", required=True, help="a table: pairs.tsv")
    parser.add_argument("--num_pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        text = "\n".join(
            files.read_text(path) for path in files.expand(options.input)
        )
        pairs = make_pairs(text, options.num_pairs, options.seed)
        rows = [
            {"paradigm": pair.kind, "good": pair.real, "bad": pair.corrupted}
            for pair in pairs
        ]
        lines.write(options.output, ("paradigm", "good", "bad"), rows)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(rows):,} pairs: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
