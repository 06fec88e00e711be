"""Summaries in words of one's own, with ROUGE."""

import dataclasses
from collections.abc import Sequence

from electra_tf.tasks import rouge
from electra_tf.tasks.seq2seq.options import Seq2SeqOptions
from electra_tf.tasks.seq2seq.pairs import Pair
from electra_tf.tasks.seq2seq.task import Seq2SeqTask, answered
from electra_tf.tasks.task import Prediction


@dataclasses.dataclass(frozen=True)
class SummarizationOptions(Seq2SeqOptions):
    """Options of `abstractive_summarization`.

    Attributes:
      stem: whether scores compare English words by their stems.
    """

    source_column: str = "document"
    target_column: str = "summary"
    max_seq_length: int = 512
    no_repeat_ngram: int = 3
    length_penalty: float = 1.0
    stem: bool = True


class AbstractiveSummarization(Seq2SeqTask):
    """A document -> a shorter text.

    "abstractive_summarization" reads files, "abstractive_summarization/xsum"
    and the like sets of TensorFlow Datasets.
    """

    Options = SummarizationOptions
    metric = "rougeL"

    def scores(
        self, examples: Sequence[Pair], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Mean F of ROUGE-1, -2 and -L."""
        known = answered(examples, predictions)
        return {} if known is None else rouge.rouge(*known, self.options.stem)
