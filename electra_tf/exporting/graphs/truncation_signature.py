"""Makes the signature `truncation`: how much of each text is read."""

from collections.abc import Callable

import tensorflow as tf

from electra_tf.exporting.graphs import inputs
from electra_tf.exporting.graphs.inputs import Signatures, Tensors
from electra_tf.exporting.graphs.text_signatures import reads_pairs
from electra_tf.tasks.qa.task import QuestionAnswering
from electra_tf.tasks.ranking.task import Ranking
from electra_tf.tasks.summarization.task import ExtractiveSummarization
from electra_tf.tasks.tagging.task import Tagging
from electra_tf.tasks.task import Task
from electra_tf.text import rows as text_rows
from electra_tf.text.masks import masked_offsets
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.truncation import fitting

# Tokens of each text -> number of tokens read; RaggedTensors, int64 [B].
_Kept = Callable[..., list[tf.Tensor]]


def signatures(
    task: Task | None, tokenizer: Tokenizer, max_length: int, masks: bool
) -> Signatures:
    """Makes `truncation`, for a model that truncates texts.

    It takes those inputs of `serving_default` that are truncated, string [B]:
    none for tagging and extractive summaries, which read everything, and only
    the question for question answering, as contexts are read in windows. For
    each input NAME:

    - `NAME_tokens` int32 [B], without special tokens;
    - `NAME_tokens_read` int32 [B], the number of these that are read;
    - `NAME_chars_read` int64 [B]: where the last of them ends, in characters;
      the length of the text where all are read.

    Args:
      task: the task; None for a pre-trained model.
      tokenizer: the model's.
      max_length: tokens a row, specials included.
      masks: whether "[MASK]" in a text is a token, as it is for a generator.
    """
    if isinstance(task, (Tagging, ExtractiveSummarization)):
        return {}

    def described(kept: _Kept, **texts: tf.Tensor) -> Tensors:
        found = {
            name: masked_offsets(tokenizer, text)
            if masks
            else tokenizer.tokenize_with_offsets(text)
            for name, text in texts.items()
        }
        ids = [each.ids for each in found.values()]
        outputs: Tensors = {}
        for name, tokens, count in zip(texts, ids, kept(*ids)):
            outputs |= {
                f"{name}_tokens": tf.cast(tokens.row_lengths(), tf.int32),
                f"{name}_tokens_read": tf.cast(count, tf.int32),
                f"{name}_chars_read": _characters(
                    texts[name],
                    count < tokens.row_lengths(),
                    found[name].end_chars,
                    count,
                ),
            }
        return outputs

    # The inputs have the names of the parameters.
    def of_text(text: tf.Tensor) -> Tensors:
        return described(_first(max_length - 2), text=text)

    def of_pair(text: tf.Tensor, text_pair: tf.Tensor) -> Tensors:
        a, b = inputs.as_many(text, text_pair, "text and text_pair")
        return described(_fair(max_length), text=a, text_pair=b)

    def of_query(query: tf.Tensor, passage: tf.Tensor) -> Tensors:
        assert isinstance(task, Ranking)
        a, b = inputs.as_many(query, passage, "query and passage")
        kept = _query_first(task.options.max_query_length, max_length)
        return described(kept, query=a, passage=b)

    def of_question(question: tf.Tensor) -> Tensors:
        assert isinstance(task, QuestionAnswering)
        kept = _first(task.options.max_query_length)
        return described(kept, question=question)

    if isinstance(task, QuestionAnswering):
        made = inputs.signature(of_question, "question")
    elif isinstance(task, Ranking):
        made = inputs.signature(of_query, "query", "passage")
    elif task is not None and reads_pairs(task):
        made = inputs.signature(of_pair, "text", "text_pair")
    else:
        made = inputs.signature(of_text, "text")
    return {"truncation": made}


def _characters(
    text: tf.Tensor, cut: tf.Tensor, ends: tf.RaggedTensor, count: tf.Tensor
) -> tf.Tensor:
    """Returns where the last token read ends, int64 [B]."""
    last = tf.minimum(count, ends.row_lengths()) - 1
    at = tf.maximum(ends.row_starts() + last, 0)
    # One more value, for texts without a token.
    end = tf.gather(tf.concat([ends.flat_values, [0]], axis=0), at)
    length = tf.strings.length(text, unit="UTF8_CHAR")
    whole = tf.cast(length, tf.int64)
    return tf.where(cut, tf.where(last >= 0, end, 0), whole)


def _first(room: int) -> _Kept:
    def kept(tokens: tf.RaggedTensor) -> list[tf.Tensor]:
        return fitting([tokens], room)

    return kept


def _fair(max_length: int) -> _Kept:
    def kept(a: tf.RaggedTensor, b: tf.RaggedTensor) -> list[tf.Tensor]:
        return list(text_rows.pair_kept(a, b, max_length)[:2])

    return kept


def _query_first(max_query_length: int, max_length: int) -> _Kept:
    def kept(a: tf.RaggedTensor, b: tf.RaggedTensor) -> list[tf.Tensor]:
        return list(text_rows.query_kept(a, b, max_length, max_query_length))

    return kept
