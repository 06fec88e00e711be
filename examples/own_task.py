"""A task of one's own: does a line hold what somebody says?

It has no file of labels; the quotation marks of the text are the labels, and
are taken out of what the model reads.

    electra-tf finetune --task=examples/own_task.py:Speech \
        --data=electra_tf/sample_text --model=MODEL --output=runs/speech
"""

from electra_tf import files
from electra_tf.tasks.texts.targets import Classes
from electra_tf.tasks.texts.task import TextExample, TextTask

KINDS = ("narration", "speech")
MARKS = str.maketrans("", "", "\"'")


class Speech(TextTask):
    """Tells lines with quotation marks from lines without, by the rest."""

    metric = "accuracy"  # what chooses the best evaluation
    rows_of_each = 300

    @property
    def target(self):
        """What is learned for a text: one of two classes."""
        return Classes(KINDS)

    def read(self, split):
        """Returns the examples of a split; None where there is none."""
        if split == "test":
            return None
        name = {"train": "emma.txt", "validation": "persuasion.txt"}[split]
        lines = files.read_text(files.join(self.data, name)).splitlines()
        rows = []
        for kind in KINDS:
            with_marks = kind == "speech"
            chosen = [
                line for line in lines if line and ('"' in line) == with_marks
            ]
            rows += [
                TextExample(line.translate(MARKS), answer=kind)
                for line in chosen[: self.rows_of_each]
            ]
        return rows

    def example(self, record, place):
        """Makes an example of what a caller or a file gives to `predict`."""
        return TextExample(record["text"].translate(MARKS), place=place)
