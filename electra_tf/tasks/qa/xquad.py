"""XQuAD: SQuAD 1.1 in other languages."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from electra_tf.tasks.qa.task import QuestionAnswering


class XQuAD(QuestionAnswering):
    """Answers in one language, by what was trained in English.

    "xquad/de" is tested on xquad.de.json; it is trained on SQuAD 1.1, with
    which it shares --data.
    """

    answered = True
    file_names: ClassVar[Mapping[str, Mapping[str, Sequence[str]]]] = {
        "*": {
            "train": ("train-v1.1.json",),
            "validation": ("dev-v1.1.json",),
            "test": ("xquad.{member}.json",),
        }
    }
