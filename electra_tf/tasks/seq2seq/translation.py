"""Translation, with sacreBLEU and chrF."""

import json
from collections.abc import Sequence

from electra_tf.tasks.seq2seq import metrics, tfds
from electra_tf.tasks.seq2seq.options import TranslationOptions
from electra_tf.tasks.seq2seq.pairs import Pair
from electra_tf.tasks.seq2seq.task import Seq2SeqTask, answered
from electra_tf.tasks.task import Prediction


class Translation(Seq2SeqTask):
    """A text in one language -> the same in another.

    "translation" reads files, "translation/ted_hrlr_translate/pt_to_en" and
    the like sets of TensorFlow Datasets.
    """

    Options = TranslationOptions
    metric = "bleu"

    def scores(
        self, examples: Sequence[Pair], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Corpus BLEU and chrF."""
        found = self._scored(examples, predictions)
        return {name: score.value for name, score in found.items()}

    def files(
        self,
        split: str,
        examples: Sequence[Pair],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """`texts.txt`, and `scores.json`: scores with their signatures."""
        made = super().files(split, examples, predictions)
        found = self._scored(examples, predictions)
        if found:
            content = {name: score._asdict() for name, score in found.items()}
            made["scores.json"] = f"{json.dumps(content, indent=1)}\n".encode()
        return made

    def _scored(
        self, examples: Sequence[Pair], predictions: Sequence[Prediction]
    ) -> dict[str, metrics.Score]:
        known = answered(examples, predictions)
        if known is None:
            return {}
        options = self.options
        lower_case = options.lower_case_scores
        return {
            "bleu": metrics.bleu(
                *known, self._language(), options.bleu_tokenizer, lower_case
            ),
            "chrf": metrics.chrf(*known, lower_case),
        }

    def _language(self) -> str | None:
        if self._set and self.options.target_language is None:
            builder = tfds.builder_of(self._set, self.data)
            return tfds.columns(self._set, builder)[1]
        return self.options.target_language
