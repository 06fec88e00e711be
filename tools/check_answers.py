"""Checks that the true answers of a SQuAD file survive tokenization.

  tools/check_answers.py --input=dev-v1.1.json --vocab=vocab.txt

Every true answer is turned into positions in the windows of its question, as
in training, and these positions into a text again, as if a model had predicted
them with probability 1. The texts are scored by SQuAD's metrics. Answers that
are not recovered are listed, with the reason.
"""

import argparse
import collections
import dataclasses
import json
import pathlib
import sys

import numpy as np

from electra_tf.tasks.qa import answers as qa_answers
from electra_tf.tasks.qa import features as qa_features
from electra_tf.tasks.qa import metrics as qa_metrics
from electra_tf.tasks.qa.examples import QAExample, unusable
from electra_tf.text.tokenizer import Tokenizer

ANY_LENGTH = 1 << 30


@dataclasses.dataclass
class Found:
    """Holds the counts, and the answers that were lost.

    Attributes:
      questions: how many have an answer.
      exact: how many of them get a true answer back, with a score of 1.
      answers: different true answers (text and place).
      recovered: how many of these are recovered.
      lost: "id: 'answer' -> 'recovered text': reason" of the others.
      whole: ids of the questions of which no answer is recovered.
    """

    questions: int
    exact: int
    answers: int
    recovered: int
    lost: list[str]
    whole: list[str]


def true_answers(path: str) -> list[QAExample]:
    """Returns an example for each true answer; equal ones appear once."""
    content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    found = []
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = [
                    (answer["text"], answer["answer_start"])
                    for answer in question["answers"]
                ]
                texts = tuple(text for text, _ in answers)
                found += [
                    QAExample(
                        question["id"], question["question"],
                        paragraph["context"], texts, start, False, text,
                    )
                    for text, start in dict.fromkeys(answers)
                ]  # fmt: skip
    return found


def there_and_back(
    examples: list[QAExample],
    tokenizer: Tokenizer,
    config: qa_features.QAFeatureConfig,
    max_answer_length: int = ANY_LENGTH,
) -> Found:
    """Makes windows of the examples, and answers from the windows again."""
    lost, score = [], collections.defaultdict(float)
    usable = []
    for example in examples:
        reason = unusable(example)
        if reason:
            lost.append(f"{example.question_id}: {reason}")
            score[example.question_id] += 0.0
        else:
            usable.append(example)
    windows = qa_features.make_windows(tokenizer, usable, config, True)
    answers = qa_answers.AnswerConfig(1, max_answer_length)
    for i, example in enumerate(usable):
        own = windows.of(i)
        text = qa_answers.predict(own, [sure(w) for w in own], answers).text
        same = qa_metrics.exact(example.target, text)
        name = example.question_id
        score[name] = max(
            score[name],
            qa_metrics.best(qa_metrics.exact, example.answers, text),
        )
        if not same:
            lost.append(
                f"{name}: '{example.target}' -> '{text}': "
                f"{reason_of(windows, i, example)}"
            )
    return Found(
        len(score),
        int(sum(score.values())),
        len(examples),
        len(examples) - len(lost),
        lost,
        [name for name, value in score.items() if not value],
    )


def sure(window: qa_features.Window) -> qa_answers.Beam:
    """Returns the output of a model that knows where the answer is."""
    return qa_answers.Beam(
        np.array([window.answer_start]), np.zeros([1], "float32"),
        np.array([[window.answer_end]]), np.zeros([1, 1], "float32"),
    )  # fmt: skip


def reason_of(windows: qa_features.Windows, i: int, example: QAExample) -> str:
    """Returns why the answer of example `i` is lost."""
    document = windows.documents[windows.document[i]]
    start = example.answer_start
    end = start + len(example.target.rstrip())
    inside = [
        what
        for what, edges, at in (
            ("begins", document.starts, start),
            ("ends", document.ends, end),
        )
        if at not in edges
    ]
    if inside:
        return f"it {' and '.join(inside)} inside a WordPiece"
    return "no window in which it may start contains it"


def main(argv: list[str] | None = None) -> int:
    """Prints the counts and the lost answers.

    Returns:
      1 if an answer is lost for another reason than WordPieces, else 0.
    """
    flags = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flags.add_argument("--input", required=True, help="file in SQuAD's format")
    flags.add_argument("--vocab", required=True, help="vocab.txt")
    flags.add_argument("--max_seq_length", type=int, default=512)
    flags.add_argument("--doc_stride", type=int, default=128)
    flags.add_argument(
        "--max_answer_length", type=int, default=ANY_LENGTH,
        help="maximum length of an answer, in WordPieces; default: no limit",
    )  # fmt: skip
    args = flags.parse_args(argv)
    found = there_and_back(
        true_answers(args.input),
        Tokenizer(args.vocab),
        qa_features.QAFeatureConfig(args.max_seq_length, args.doc_stride),
        args.max_answer_length,
    )
    print(f"questions with an answer: {found.questions}")
    print(
        f"an answer is recovered:   {found.exact} "
        f"({100 * found.exact / max(1, found.questions):.3f} %)"
    )
    print(f"different true answers:   {found.answers}")
    print(
        f"recovered:                {found.recovered} "
        f"({100 * found.recovered / max(1, found.answers):.3f} %)"
    )
    for title, lines in (
        ("Questions with no recovered answer", found.whole),
        ("Answers that are not recovered", found.lost),
    ):
        print(f"\n{title}: {len(lines)}")
        for line in lines:
            print(f"  {line}")
    unexplained = [line for line in found.lost if "WordPiece" not in line]
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
