"""A model as a TensorFlow SavedModel that takes texts, ready to be served.

electra-tf export --model=RUN --output=DIR

Writes DIR/1, or the next number if there are some already: text in, answers
out, with the tokenizer inside. The directory's name is the model's. A server
that watches DIR never sees a version that is not whole.

A fine-tuned model answers as its task does; a pre-trained discriminator tells
for each token of a text whether it was replaced, a generator fills in [MASK].
All of them turn texts into vectors too (signatures embed, the mean, and
embed_first, the first token's).
"""

from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
    from electra_tf.exporting.servable import Servable

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "model",
    None,
    "run of finetune or pretrain, model directory, or a model of another "
    "format",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output",
    None,
    "directory for the model's versions",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "version",
    None,
    "number of this version; the next one if not given",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "signatures",
    None,
    "names, divided by commas; all by default",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "part",
    None,
    ["discriminator", "generator"],
    "of a pre-trained model: discriminator, if there is one, or generator",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "task",
    None,
    "answer as this task, if its head is the same",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "set",
    [],
    "options.key=value, over those of the fine-tuning; repeat",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "float16",
    False,
    "keep the weights in half the bytes; outputs differ by 3 % at most, "
    "usually by much less",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "optimize",
    False,
    "freeze the weights into the graph, which runs faster on a CPU; outputs "
    "differ by 1e-5 at most",
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "tflite",
    False,
    "write a classifier for TensorFlow Lite too, DIR/1/assets.extra/"
    "model.tflite: token ids in, for the tokenizer is not part of it",
    flag_values=FLAGS,
)


def main(flags_: flags.FlagValues) -> int:
    """Opens, writes, reports."""
    from electra_tf.errors import UserError
    from electra_tf.exporting import writer as export

    if flags_.float16 and flags_.optimize:
        raise UserError("--float16 and --optimize: give one of them")
    storage = "float16" if flags_.float16 else "float32"
    export.model_name(flags_.output)
    written = export.export(
        _open(flags_),
        flags_.output,
        flags_.version,
        flags_.signatures,
        "constants" if flags_.optimize else storage,
        flags_.tflite,
    )
    about = written.description
    print(f"{about['name']}, version {written.version}: {written.path}")
    for name, signature in about["signatures"].items():
        inputs = ", ".join(signature["inputs"])
        outputs = ", ".join(signature["outputs"])
        print(f"  {name}: {inputs} -> {outputs}")
    if "tflite" in about:
        print(f"  for TensorFlow Lite: assets.extra/{about['tflite']['file']}")
    return 0


def _open(flags_: flags.FlagValues) -> "Servable":
    """The model, as what the flags say."""
    from electra_tf.errors import UserError
    from electra_tf.exporting import servable
    from electra_tf.hub import handles
    from electra_tf.prediction import predictor

    path = flags_.model
    if handles.is_handle(path):
        path = handles.fetch(path)
    if servable.is_fine_tuned(path):
        if flags_.part is not None:
            raise UserError(
                f"--part: is of pre-trained models, and {path} was "
                "fine-tuned; leave it out"
            )
        return servable.of_predictor(
            predictor.load(path, task=flags_.task, overrides=flags_.set)
        )
    for flag in ("task", "set"):
        if flags_[flag].value:
            raise UserError(
                f"--{flag}: is of fine-tuned models, and {path} was not; "
                "leave it out"
            )
    return servable.open_pretrained(path, flags_.part)
