"""Samples texts that begin with a prompt from a masked language model."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.generation.settings import Draw, Method, SampleConfig
from electra_tf.recipes import lines
from electra_tf.recipes.arguments import checked

_COLUMNS = ("prompt", "sample", "text", "continuation")


@dataclasses.dataclass(frozen=True)
class Generated:
    """The result of `generate`.

    Attributes:
      rows: a mapping for each text: `prompt`, `sample` (its number for the
        prompt, from 0), `text` and `continuation`.
      output: the file that was written, if one was.
    """

    rows: Sequence[lines.Row]
    output: str | None

    def __str__(self) -> str:
        if self.output:
            return f"{len(self.rows):,} texts: {self.output}"
        return "\n".join(row["text"] for row in self.rows)


@checked
def generate(
    model: str,
    *,
    prompt: Sequence[str] = (),
    length: int = 20,
    num_samples: Annotated[int, Setting(at_least=0)] = 1,
    seed: int = 0,
    method: Method = "mask_predict",
    num_iterations: Annotated[int, Setting(at_least=1)] | None = None,
    temperature: Annotated[float, Setting(at_least=0)] = 1.0,
    top_k: Annotated[int, Setting(at_least=0)] = 0,
    top_p: Annotated[float, Setting(above=0, at_most=1)] = 1.0,
    critic: bool | None = None,
    critic_model: str | None = None,
    counts_from: str | None = None,
    max_seq_length: int | None = None,
    vocab: str | None = None,
    output: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Generated:
    """Samples texts that begin with a prompt from a masked language model.

        electra-tf generate --model=RUN --prompt="The old man" --num_samples=10

    Methods: mask_predict samples all tokens at once and then, in some
      iterations, fewer and fewer of them again; gibbs resamples one token at a
      time; one_shot and unigram are for comparison. With --critic the
      discriminator chooses the tokens to resample: those it predicts to be
      replaced. The same seed gives the same samples, sample by sample.

    An ELECTRA generator is small and was trained to fill blanks: expect
    phrases, not stories.

    Args:
      model: run of pretrain, model directory, checkpoint of another format or
        handle
      prompt: beginning of the texts; empty if not given
      length: number of tokens after it
      num_samples: number of texts for each prompt
      seed: seed of the samples
      method: sampling method
      num_iterations: passes of mask_predict, or of gibbs over all tokens; 10
        by default
      temperature: below 1: more probable tokens; 0: the most probable
      top_k: sample from this many of the most probable tokens; 0: all
      top_p: sample from the fewest tokens of this probability
      critic: whether the discriminator chooses the tokens to resample; by
        default if there is one
      critic_model: model with the discriminator, if it is not in --model
      counts_from: text whose words are counted, for unigram
      max_seq_length: tokens read at once; those of the pre-training by default
      vocab: vocabulary, if the model has none
      output: file to write: .jsonl, .tsv or .csv; or .txt, with a text on each
        line, whose own lines are joined by spaces
      overwrite: replace an existing output
      progress: whether to warn on stderr of a prompt that is too long.

    Returns:
      The texts, and the file that has them.

    Raises:
      UserError: the model or file is missing, or there are more tokens than the
        model reads at once.
    """
    from electra_tf.generation import filling, loading, sampling
    from electra_tf.prediction import files as prediction_files
    from electra_tf.prediction import resumable

    note = lines.note_on(progress)
    prompts = [prompt] if isinstance(prompt, str) else list(prompt) or [""]
    if any(filling.BLANK in each for each in prompts):
        raise UserError(
            f"--prompt: has {filling.BLANK} in it; electra-tf fill fills "
            "blanks, generate continues the prompt"
        )
    how = SampleConfig(
        method,
        num_iterations,
        Draw(temperature, top_k, top_p),
        critic is not False,
    )
    if counts_from:
        prediction_files.check_input(counts_from, "--counts_from")
        lines.check_text_input(counts_from, "--counts_from")
    _check_used(how, critic, critic_model, counts_from)
    prediction_files.check_output(output, overwrite)
    as_text = bool(output and output.endswith(".txt"))
    if output and not as_text:
        prediction_files.check_name(output, "--output")
    path, found = loading.describe(model)
    judge: bool | str = False
    if how.uses_critic:
        judge = critic_model or loading.has_critic(found)
        if not judge and critic:
            raise UserError(
                f"--critic: {path} has no discriminator to choose tokens; name "
                "one with --critic_model=DIR"
            )
    how = dataclasses.replace(how, critic=bool(judge))
    sampler = sampling.Sampler.from_pretrained(
        path, critic=judge, vocab=vocab, max_seq_length=max_seq_length
    )
    counts = None
    if method == "unigram" and counts_from:
        counts = sampling.count_words(
            sampler.tokenizer, resumable.read_lines(counts_from)
        )
        if not counts:
            raise UserError(f"--counts_from: {counts_from}: no words")
    for each in prompts:
        remark = sampler.cut(each, length)
        if remark:
            note(f"--prompt: {remark}")
    samples = sampler.sample(prompts, length, num_samples, how, seed, counts)
    rows = [
        dict(zip(_COLUMNS, (each, number, one.text, one.continuation)))
        for each, own in zip(prompts, samples)
        for number, one in enumerate(own)
    ]
    if output and as_text:
        lines.write_lines(
            output, (" ".join(str(row["text"]).splitlines()) for row in rows)
        )
    elif output:
        lines.write(output, _COLUMNS, rows)
    elif not rows:
        note("--num_samples=0: nothing to sample")
    return Generated(rows, output)


def _check_used(
    how: SampleConfig,
    critic: bool | None,
    critic_model: str | None,
    counts_from: str | None,
) -> None:
    """Refuses arguments that the sampling method would ignore."""
    drawn, default = how.draw, Draw()
    iterates = how.method in ("mask_predict", "gibbs")
    unused = {
        "num_iterations": not iterates and how.num_iterations is not None,
        "critic": not iterates and bool(critic),
        "critic_model": not iterates and critic_model is not None,
        "counts_from": how.method != "unigram" and counts_from is not None,
    }
    if how.method == "unigram":
        unused |= {
            "temperature": drawn.temperature != default.temperature,
            "top_k": drawn.top_k != default.top_k,
            "top_p": drawn.top_p != default.top_p,
        }
    for name, is_unused in unused.items():
        if is_unused:
            raise UserError(
                f"--{name}: --method={how.method} does not use it; leave it "
                "out, or choose another method"
            )
    if critic is False and critic_model is not None:
        raise UserError("--critic_model: not with --nocritic")
