"""How often does a model prefer a real sentence to a spoilt copy of it?

  tools/score_pairs.py --input='held_out/*.txt' --model=RUN --method=pll

Of sentences of the text, half have two words swapped, and half two words
replaced by others, which are drawn by how often they occur in the text. The
model is right where the real sentence scores higher; a draw counts against
it. The same seed gives the same pairs.
"""

import argparse
import collections
import dataclasses
import json
import random
import re
import sys

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.generation.scoring import METHODS, Scorer

_SENTENCE = re.compile(r"[^.!?]+[.!?]+[\"'\u201d\u2019)]*")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_WORDS = range(8, 31)  # that a sentence has


@dataclasses.dataclass(frozen=True)
class Pair:
    """Attributes:
    kind: "swapped" or "replaced".
    real: the sentence.
    spoilt: with two other words.
    """

    kind: str
    real: str
    spoilt: str


def sentences(text: str) -> list[str]:
    """Sentences of 8 to 30 words, each once, in order."""
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
    """Pairs, swapped and replaced in turn.

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
        spoilt = sentence
        for i, word in ((b, new[1]), (a, new[0])):  # from behind
            spoilt = spoilt[: spans[i][0]] + word + spoilt[spans[i][1] :]
        pairs.append(Pair(kind, sentence, spoilt))
        if len(pairs) == count:
            return pairs
    raise UserError(f"--input: no {count} sentences with two different words")


def preferred(scorer: Scorer, pairs: list[Pair]) -> list[bool]:
    """For each pair, whether the real sentence scores higher."""
    both = [text for pair in pairs for text in (pair.real, pair.spoilt)]
    scores = [found.score for found in scorer.score(both)]
    return [real > spoilt for real, spoilt in zip(scores[::2], scores[1::2])]


def shares(pairs: list[Pair], right: list[bool]) -> dict[str, float]:
    """Per cent of pairs that are right, of each kind and of all."""
    found = collections.defaultdict(list)
    for pair, correct in zip(pairs, right):
        found[pair.kind].append(correct)
        found["all"].append(correct)
    return {k: 100 * sum(v) / len(v) for k, v in sorted(found.items())}


def main() -> int:
    """Makes pairs, scores them, prints a line for each method."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", required=True, help="text files, globs")
    parser.add_argument("--model", required=True)
    parser.add_argument("--method", nargs="+", choices=METHODS, default=["pll"])
    parser.add_argument("--num_pairs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="the pairs and verdicts, JSON Lines")
    options = parser.parse_args()
    try:
        text = "\n".join(
            files.read_text(path) for path in files.expand(options.input)
        )
        pairs = make_pairs(text, options.num_pairs, options.seed)
        verdicts = {}
        for method in options.method:
            scorer = Scorer.from_pretrained(options.model, method)
            verdicts[method] = preferred(scorer, pairs)
            told = "  ".join(
                f"{kind} {share:.1f} %"
                for kind, share in shares(pairs, verdicts[method]).items()
            )
            print(f"{method:<9} {len(pairs)} pairs  {told}", flush=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    if options.output:
        lines = [
            dataclasses.asdict(pair) | {m: v[i] for m, v in verdicts.items()}
            for i, pair in enumerate(pairs)
        ]
        files.write_text(
            options.output,
            "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
