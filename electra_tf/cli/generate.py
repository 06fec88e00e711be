"""Texts that begin with a prompt, drawn from a masked language model.

electra-tf generate --model=RUN --prompt="The old man" --num_samples=10

Methods: mask_predict draws all tokens at once and then, in some iterations,
fewer and fewer of them again; gibbs draws one token at a time again; one_shot
and unigram are there to compare with. With --critic the discriminator chooses
what is drawn again: what it takes for replaced. The same seed gives the same
samples, sample by sample.

An ELECTRA generator is small and was trained to fill blanks: expect phrases,
not stories.
"""

from typing import Any

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "model",
    None,
    "run of pretrain, model directory, checkpoint of another format or handle",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "prompt",
    [],
    "what the texts begin with; nothing if not given; repeat",
    flag_values=FLAGS,
)
flags.DEFINE_integer("length", 20, "tokens after it", flag_values=FLAGS)
flags.DEFINE_integer(
    "num_samples", 1, "texts for each prompt", flag_values=FLAGS
)
flags.DEFINE_integer("seed", 0, "another gives others", flag_values=FLAGS)
flags.DEFINE_enum(
    "method",
    "mask_predict",
    ["mask_predict", "gibbs", "one_shot", "unigram"],
    "how texts are drawn",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_iterations",
    None,
    "passes of mask_predict, or of gibbs over all tokens; 10 by default",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "temperature",
    1.0,
    "below 1: more probable tokens; 0: the most probable",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "top_k", 0, "draw from so many tokens; 0: all", flag_values=FLAGS
)
flags.DEFINE_float(
    "top_p",
    1.0,
    "draw from the fewest tokens of this probability",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "critic",
    None,
    "whether the discriminator chooses what is drawn again; if not given, "
    "where there is one",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "critic_model",
    None,
    "model with the discriminator, if it is not in --model",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "counts_from", None, "text, for unigram: its words", flag_values=FLAGS
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
flags.DEFINE_string(
    "output",
    None,
    "file to write: .jsonl, .tsv or .csv; or .txt, a text a line",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "overwrite", False, "replace an output that is there", flag_values=FLAGS
)


def main(flags_: flags.FlagValues) -> int:
    """Checks, loads, draws, shows or writes."""
    from electra_tf.cli import score_outputs
    from electra_tf.errors import UserError
    from electra_tf.generation import (
        drawing,
        filling,
        loading,
        sampling,
        unigrams,
    )
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import resumable

    prompts = flags_.prompt or [""]
    for prompt in prompts:
        if filling.BLANK in prompt:
            raise UserError(
                f"--prompt: has {filling.BLANK} in it; electra-tf fill fills "
                "blanks, generate goes on after the prompt"
            )
    config = sampling.SampleConfig(
        flags_.method,
        flags_.num_iterations,
        drawing.Draw(flags_.temperature, flags_.top_k, flags_.top_p),
        flags_.critic is not False,
    )
    prediction_files.check_output(flags_.output, flags_.overwrite)
    as_text = bool(flags_.output) and flags_.output.endswith(".txt")
    if flags_.output and not as_text:
        prediction_files.check_name(flags_.output, "--output")
    if flags_.counts_from:
        prediction_files.check_input(flags_.counts_from, "--counts_from")
    path, found = loading.describe(flags_.model)
    critic: bool | str = False
    if config.uses_critic:
        critic = flags_.critic_model or loading.has_critic(found)
        if not critic and flags_.critic:
            raise UserError(
                f"--critic: {path} has no discriminator that could judge; "
                "name one with --critic_model=DIR"
            )
    config = config.with_critic(bool(critic))
    sampler = sampling.Sampler.from_pretrained(
        path,
        critic=critic,
        vocab=flags_.vocab,
        max_seq_length=flags_.max_seq_length,
    )
    counts = None
    if flags_.method == "unigram" and flags_.counts_from:
        counts = unigrams.count(
            sampler.tokenizer, resumable.read_lines(flags_.counts_from)
        )
        if not counts:
            raise UserError(f"--counts_from: {flags_.counts_from}: no words")
    for prompt in prompts:
        told = sampler.cut(prompt, flags_.length)
        if told:
            score_outputs.note(f"--prompt: {told}")
    samples = sampler.sample(
        prompts,
        flags_.length,
        flags_.num_samples,
        config,
        flags_.seed,
        counts,
    )
    rows: list[dict[str, Any]] = [
        {
            "prompt": prompt,
            "sample": number,
            "text": sample.text,
            "continuation": sample.continuation,
        }
        for prompt, own in zip(prompts, samples)
        for number, sample in enumerate(own)
    ]
    if as_text or not flags_.output:
        score_outputs.write_lines(flags_.output, (r["text"] for r in rows))
    else:
        columns = ("prompt", "sample", "text", "continuation")
        score_outputs.write(flags_.output, columns, rows)
    if flags_.output:
        print(f"{len(rows):,} texts: {flags_.output}")
    elif not rows:
        score_outputs.note("--num_samples=0: nothing to draw")
    return 0
