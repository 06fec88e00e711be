"""How good a pre-trained model finds sentences: one score a line.

electra-tf score --model=RUN --input=TEXT.txt [--output=SCORES.jsonl]

A score is a log-probability in nats, the higher the better; `mean` is that a
token. Methods: pll, the generator's pseudo-log-likelihood, a pass for each
token; pll_word, the same with the rest of its word masked; electric, one pass
of a model that was pre-trained with objective.kind=electric; replaced, one
pass of a discriminator, which says of each token whether it was replaced.
Empty lines have no score.

--rerank orders n-best lists: lines of id, candidate and perhaps another
score, by tabs, those of one id together. The order is by other score plus
--weight times ours; --best writes the first of each list.

--keep_above and --keep_share clean a text up: --output then is the text
without the lines of low score a token, and the counts are told.

Without --output the scores are shown. Interrupted at any moment and started
again with the same arguments, it goes on where it was.
"""

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "model",
    None,
    "run of pretrain, model directory, checkpoint of another format or handle",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "input",
    None,
    "text, one sentence a line; .gz too",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output",
    None,
    "file to write: .jsonl, .tsv or .csv; a text with --keep_...",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "method",
    "auto",
    ["auto", "pll", "pll_word", "electric", "replaced"],
    "auto: electric where the model was trained so, else pll where there is "
    "a generator, else replaced",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "per_token", False, "write the score of each token too", flag_values=FLAGS
)
flags.DEFINE_bool(
    "rerank", False, "the input is n-best lists", flag_values=FLAGS
)
flags.DEFINE_float(
    "weight", 1.0, "of our score beside the other one", flag_values=FLAGS
)
flags.DEFINE_bool(
    "normalize", False, "rerank by the score a token", flag_values=FLAGS
)
flags.DEFINE_string(
    "best", None, "file for the best of each list (TSV)", flag_values=FLAGS
)
flags.DEFINE_float(
    "keep_above", None, "keep lines of this score a token", flag_values=FLAGS
)
flags.DEFINE_float(
    "keep_share",
    None,
    "keep this share of the lines, the best ones",
    lower_bound=0,
    upper_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "max_unknown_share",
    0.5,
    "leave lines out of whose tokens more are [UNK]; with --keep_...",
    lower_bound=0,
    upper_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_seq_length",
    None,
    "tokens read at once; those of the pre-training by default",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "vocab", None, "vocabulary, if none is beside the model", flag_values=FLAGS
)
flags.DEFINE_integer(
    "batch_tokens", 8192, "tokens at once", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_bool(
    "overwrite", False, "replace an output that is there", flag_values=FLAGS
)


def main(flags_: flags.FlagValues) -> int:
    """Checks, loads, scores, writes."""
    from electra_tf.cli import score_outputs as outputs
    from electra_tf.cli import score_run
    from electra_tf.generation import scoring
    from electra_tf.prediction import resumable
    from electra_tf.recipes.progress import RowProgress

    score_run.check(flags_)
    scorer = scoring.Scorer.from_pretrained(
        flags_.model,
        flags_.method,
        vocab=flags_.vocab,
        max_seq_length=flags_.max_seq_length,
        batch_tokens=flags_.batch_tokens,
    )
    answer = score_run.answer(scorer, flags_)
    if not flags_.output:
        found = resumable.answer_in_memory(
            flags_.input, answer, score_run.CHUNK
        )
        return score_run.write(flags_, lambda: found, scorer.method)
    about = {
        name: getattr(flags_, name)
        for name in ("model", "per_token", "rerank", "batch_tokens")
    }
    run = resumable.ResumableRun(
        flags_.input,
        flags_.output,
        about
        | {
            "method": scorer.method,
            "max_seq_length": scorer.max_length,
            "weights": resumable.weights_digest([scorer.network]),
        },
        outputs.note,
    )
    line = RowProgress(score_run.size(flags_.input))
    try:
        run.answer(answer, score_run.CHUNK, line.update)
    finally:
        line.close()
    status = score_run.write(flags_, run.rows, scorer.method)
    run.close()
    return status
