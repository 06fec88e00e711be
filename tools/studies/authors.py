r"""Makes the shipped labelled set: sentences and which of 3 authors wrote them.

  tools/studies/authors.py --books BOOKS electra_tf/sample_text \
      --output electra_tf/sample_tasks/authors

Sentences have 8 to 40 words; each author has equally many. Test sentences are
from other books than training sentences, so that names of people and places do
not help; sentences with the names of Holmes and Watson, who are in all of
Doyle's stories, are left out.
"""

import argparse
import pathlib
import random
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "mini"))

import books

from electra_tf.recipes import lines

# Author -> the beginnings of file names, for training and for test.
AUTHORS = {
    "Austen": (
        ["emma", "pride_and_prejudice"],
        ["persuasion"],
    ),
    "Doyle": (
        [
            "arthur_conan_doyle_the_valley_of_fear",
            "arthur_conan_doyle_the_captain",
            "arthur_conan_doyle_the_man_with",
            "arthur_conan_doyle_silver_blaze",
        ],
        [
            "arthur_conan_doyle_the_adventure_of_the_copper",
            "arthur_conan_doyle_the_adventure_of_the_beryl",
            "arthur_conan_doyle_the_adventure_of_the_empty",
        ],
    ),
    "Wells": (
        ["h_g_wells_the_island_of_doctor_moreau"],
        ["h_g_wells_the_time_machine"],
    ),
}
COUNTS = {"train": 600, "dev": 200}  # of each author
_WORDS = range(8, 41)
_LEFT_OUT = re.compile(r"Holmes|Watson|Sherlock|[\t#]")


def sentences(folder: pathlib.Path, names: list[str]) -> list[str]:
    """Returns the sentences of some books, each once, in order."""
    found: list[str] = []
    for name in names:
        for path in sorted(folder.glob(f"{name}*.txt")):
            blocks = list(books.paragraphs(path.read_text("utf-8")))
            for own in books.in_sentences(blocks):
                found += own
    kept = [
        each
        for each in found
        if len(each.split()) in _WORDS and not _LEFT_OUT.search(each)
    ]
    return list(dict.fromkeys(kept))


def main() -> int:
    """Writes train.tsv and dev.tsv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--books", required=True, nargs="+", help="folders")
    parser.add_argument("--output", required=True, help="the folder to fill")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    for part, (split, count) in enumerate(COUNTS.items()):
        rows = []
        for author, names in AUTHORS.items():
            found = [
                text
                for folder in options.books
                for text in sentences(pathlib.Path(folder), names[part])
            ]
            print(f"{split}: {len(found):,} sentences of {author}")
            rows += [
                {"text": text, "author": author}
                for text in rng.sample(found, count)
            ]
        rng.shuffle(rows)
        path = f"{options.output}/{split}.tsv"
        lines.write(path, ("text", "author"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
