"""Finds measurements that are written by hand in a page.

A measurement is a speed, a score, a time or a size. Each has to come from a
results file, in a section that `tools/write_docs.py` writes. A line that only
looks like one (a limit, a number from a paper) ends with
`<!-- not measured -->`, or stands between `<!-- not measured: begin -->` and
`<!-- not measured: end -->`.
"""

import re

NOT_MEASURED = "<!-- not measured -->"
_NUMBER = r"(?<![\w.])\d[\d.,]*"
_SCORES = (
    "accuracy|F1|BLEU|chrF|ROUGE-?[12L]?|AUC|MRR|Spearman|Pearson|perplexity|"
    "exact match|loss|nats"
)
_FIGURE = re.compile(
    "|".join(
        (
            # A rate: 22.2 MB/s, 0.98 steps/s, 528 sentences a second.
            rf"{_NUMBER} (?:[A-Za-z]+/s\b|\w+ (?:a|per) second)",
            # A comparison: 3.6 times as fast, 5 % slower.
            rf"{_NUMBER} times (?:as|the|faster|slower|more|less)",
            rf"{_NUMBER} ?% (?:faster|slower|less|more|of the peak|of a step)",
            # A time or a size: 38 ms, 0.5 GB, 50 minutes.
            rf"{_NUMBER} (?:ms|milliseconds?|minutes|hours|MB|GB)\b",
            # A score: an AUC of 0.85, accuracy 78.9, 3.77 nats.
            rf"(?:{_SCORES})\b(?: (?:of|is|was|from|at))* \d+\.\d+",
            rf"{_NUMBER} (?:{_SCORES})\b",
        )
    )
)
# A cell of a table with nothing but a number, or a number with a range.
_CELL = re.compile(r"-?\*{0,2}\d+\.\d+\*{0,2}(?: ?%| MB| GB)?(?: \([^)]*\))?")


def by_hand(text: str) -> list[tuple[int, str]]:
    """Returns (line number, line) of every measurement written by hand.

    Args:
      text: a page, in Markdown.
    """
    found = []
    generated = fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"<!-- .*: begin -->", line):
            generated = True
        elif re.match(r"<!-- .*: end -->", line):
            generated = False
        elif line.lstrip().startswith("```"):
            fenced = not fenced
        elif generated or fenced or line.startswith("    "):
            continue
        elif line.rstrip().endswith(NOT_MEASURED):
            continue
        elif _FIGURE.search(line) or _is_row_of_figures(line):
            found.append((number, line))
    return found


def _is_row_of_figures(line: str) -> bool:
    if not line.startswith("|"):
        return False
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    return any(_CELL.fullmatch(cell) for cell in cells)
