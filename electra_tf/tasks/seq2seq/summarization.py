"""Summaries in words of one's own, with ROUGE."""

from collections.abc import Sequence

from electra_tf.tasks import rouge
from electra_tf.tasks.seq2seq.options import SummarizationOptions
from electra_tf.tasks.seq2seq.pairs import Pair
from electra_tf.tasks.seq2seq.task import Seq2SeqTask, answered
from electra_tf.tasks.task import Prediction


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
