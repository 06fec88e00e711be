"""Converts a checkpoint from one format to another."""

import dataclasses
from typing import TYPE_CHECKING, Literal

from electra_tf.config import Overrides
from electra_tf.errors import UserError
from electra_tf.recipes.arguments import checked

if TYPE_CHECKING:
    from electra_tf.hub.checkpoint import Report

Format = Literal["huggingface", "tf1", "keras_hub", "electra_tf"]

# Formats with a single network: two networks need two directories.
_SINGLE = ("huggingface", "keras_hub")


@dataclasses.dataclass(frozen=True)
class Converted:
    """The result of `convert`.

    Attributes:
      output: the directory.
      format: its format.
      report: what was taken from the source, left over and assumed.
      lost: what the format cannot store, as sentences.
      slots_lost: whether the source had an optimizer's state that the format
        cannot store.
    """

    output: str
    format: Format
    report: "Report"
    lost: tuple[str, ...]
    slots_lost: bool

    def __str__(self) -> str:
        lines = ["not carried over: the optimizer's slots"] * self.slots_lost
        lines += [str(self.report)]
        lines += [f"written as {self.format} to {self.output}"]
        lines += [f"not carried over: {sentence}" for sentence in self.lost]
        return "\n".join(lines)


@checked
def convert(
    source: str,
    to: Format,
    output: str,
    *,
    part: Literal["discriminator", "generator", "both"] | None = None,
    vocab: str | None = None,
    lower_case: bool | None = None,
    overrides: Overrides = (),
    extend_vocab: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Converts a checkpoint from one format to another, weights bit for bit.

        electra-tf convert --from=PATH --to=huggingface --output=DIR

    The source is recognised: a model directory or finished run of electra_tf,
    a Hugging Face directory, a KerasHub preset, a TF1 checkpoint of the
    original ELECTRA (a prefix, its .index file or its directory), or a handle
    (hf://org/name, kaggle://owner/model/framework/variation).

    TF1 checkpoints only have the sizes of their weights. The other settings
    come from a config.json beside them or from --set, as in
    --set=model.num_heads=4; defaults that are used are printed.

    Args:
      source: checkpoint to convert
      to: format to write: huggingface, tf1, keras_hub or electra_tf
      output: directory to write
      part: the network to convert; if not given, both, or for huggingface and
        keras_hub, which have only one, the discriminator
      vocab: vocabulary, where the source has none
      lower_case: whether the tokenizer lower-cases, where the source does not
        say
      overrides: setting of the source, section.key=value
      extend_vocab: file of tokens, one a line, to append to the vocabulary:
        build data with the vocab.txt that is written, then pretrain
        --init_from
      overwrite: write into a directory that is not empty; a model there has
        to be of the same format

    Returns:
      What was written, and what was not carried over.

    Raises:
      UserError: the checkpoint is missing or damaged, or cannot be converted to
        this format.
    """
    from electra_tf import files
    from electra_tf.hub import checkpoint as checkpoints
    from electra_tf.hub import config as configs
    from electra_tf.hub import loading, vocab_extension
    from electra_tf.hub.aside import written_aside
    from electra_tf.prediction import task_of_model

    files.check_place(output, folder=True)
    if (
        files.is_directory(output)
        and files.list_directory(output)
        and not overwrite
    ):
        raise UserError(
            f"--output: {output} is not empty; name another directory, or "
            "give --overwrite"
        )
    if source.rstrip("/") == output.rstrip("/"):
        raise UserError("--output: is --from; name another directory")
    for name in loading.FORMATS:
        if name != to and loading.format_module(name).recognises(output):
            raise UserError(
                f"--output: {output} has a model in the format {name}, which "
                "could be read in place of the new one; name another directory"
            )
    texts = configs.assigned(overrides)
    if lower_case is not None:
        texts["lower_case"] = str(lower_case).lower()
    checkpoint = loading.open_checkpoint(source, texts, vocab)
    if extend_vocab is not None:
        checkpoint = vocab_extension.extended(checkpoint, extend_vocab)
    if part is None:
        part = "both"
        if to in _SINGLE:
            has_both = checkpoint.config.discriminator is not None
            part = "discriminator" if has_both else "generator"
    about = checkpoint.config.fine_tuning
    if to in _SINGLE and about is not None:
        checkpoint = dataclasses.replace(
            checkpoint,
            config=dataclasses.replace(
                checkpoint.config, fine_tuning=task_of_model.in_general(about)
            ),
        )
    slots_lost = to in _SINGLE and checkpoint.slots is not None
    if slots_lost:
        checkpoint = dataclasses.replace(checkpoint, slots=None)
    report = checkpoints.report(checkpoint, part)
    written = loading.format_module(to)
    belongings = list(written.FILES)
    # Two networks in two folders would be read in place of one.
    if to in _SINGLE and checkpoints.is_pair(output, written.recognises):
        belongings += [
            f"{network}/{name}"
            for network in checkpoints.NETWORKS
            for name in written.FILES
        ]
    with written_aside(output, belongings) as aside:
        lost = written.write(aside, checkpoint, part)
    return Converted(output, to, report, tuple(lost), slots_lost)
