"""A checkpoint from one format to another, weights bit for bit.

electra-tf convert --from=PATH --to=huggingface --output=DIR

The source is recognised: a model directory or finished run of electra_tf, a
Hugging Face directory, a KerasHub preset, a TF1 checkpoint of the original
ELECTRA (a prefix, its .index file or its directory), or a handle
(hf://org/name, kaggle://owner/model/framework/variation).

TF1 checkpoints tell their sizes alone. What else there is comes from a
config.json beside them or from --set, as in --set=model.num_heads=4; what is
taken by default is printed.
"""

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "from", None, "checkpoint to convert", required=True, flag_values=FLAGS
)
flags.DEFINE_enum(
    "to",
    None,
    ["huggingface", "tf1", "keras_hub", "electra_tf"],
    "format to write: huggingface, tf1, keras_hub or electra_tf",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output", None, "directory to write", required=True, flag_values=FLAGS
)
flags.DEFINE_enum(
    "part",
    None,
    ["discriminator", "generator", "both"],
    "which network; if not given, both, but of huggingface and keras_hub, "
    "which hold one, the discriminator",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "vocab", None, "vocabulary, where there is none", flag_values=FLAGS
)
flags.DEFINE_bool(
    "lower_case",
    None,
    "whether the tokenizer lower-cases, where the source does not tell",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "set", [], "setting of the source, section.key=value", flag_values=FLAGS
)
flags.DEFINE_string(
    "extend_vocab",
    None,
    "file of tokens, one a line, to append to the vocabulary: build data with "
    "the vocab.txt that is written, then pretrain --init_from",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "overwrite",
    False,
    "write into a directory that is not empty",
    flag_values=FLAGS,
)

# Formats that hold one network; of two they make two directories.
_SINGLE = ("huggingface", "keras_hub")


def main(flags_: flags.FlagValues) -> int:
    """Reads, writes, reports."""
    import dataclasses

    from electra_tf import files
    from electra_tf.errors import UserError
    from electra_tf.hub import config as configs
    from electra_tf.hub import loading, parts, vocab_extension

    output, target = flags_.output, flags_.to
    if (
        files.is_directory(output)
        and files.list_directory(output)
        and not flags_.overwrite
    ):
        raise UserError(
            f"--output: {output} is not empty; name another directory, or "
            "give --overwrite"
        )
    source = flags_["from"].value
    if source.rstrip("/") == output.rstrip("/"):
        raise UserError("--output: is --from; name another directory")
    overrides = configs.assigned(flags_.set)
    if flags_.lower_case is not None:
        overrides["lower_case"] = str(flags_.lower_case).lower()
    checkpoint = loading.open_checkpoint(source, overrides, flags_.vocab)
    if flags_.extend_vocab is not None:
        checkpoint = vocab_extension.extended(checkpoint, flags_.extend_vocab)
    part = flags_.part or "both"
    if flags_.part is None and target in _SINGLE:
        has_both = checkpoint.config.discriminator is not None
        part = "discriminator" if has_both else "generator"
    if target in _SINGLE and checkpoint.slots is not None:
        print("not carried over: the optimizer's slots")
        checkpoint = dataclasses.replace(checkpoint, slots=None)
    print(parts.report(checkpoint, part))
    notes = loading.format_module(target).write(output, checkpoint, part)
    print(f"written as {target} to {output}")
    for note in notes:
        print(f"not carried over: {note}")
    return 0
