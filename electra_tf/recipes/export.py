"""Exports a model as a SavedModel that takes texts, as ONNX, or as .tflite."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from electra_tf import config
from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.recipes.arguments import checked

if TYPE_CHECKING:
    from electra_tf.exporting.servable import Servable
    from electra_tf.exporting.writer import Storage


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported version of a model.

    Attributes:
      path: its directory, `output/version`.
      version: its number.
      description: the content of its `assets.extra/electra_tf.json`.
    """

    path: str
    version: int
    description: Mapping[str, Any]

    def __str__(self) -> str:
        about = self.description
        lines = [f"{about['name']}, version {self.version}: {self.path}"]
        for name, signature in about["signatures"].items():
            inputs = ", ".join(signature["inputs"])
            outputs = ", ".join(signature["outputs"])
            lines.append(f"  {name}: {inputs} -> {outputs}")
        unknown = about.get("unknown_percent")
        if unknown is not None:
            lines.append(f"  [UNK]: {unknown:.2f} % of the training tokens")
        if "litert" in about:
            lite = about["litert"]
            apart = max(lite["largest_difference"].values(), default=0.0)
            lines.append(
                f"  for LiteRT, {lite['weights']}: assets.extra/{lite['file']},"
                f" largest difference on sample texts {apart:.1e}"
            )
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class ExportedOnnx:
    """An exported directory for ONNX Runtime.

    Attributes:
      path: the directory, with `model.onnx` and the tokenizer's files.
      outputs: name -> shape.
      difference: largest difference between an output and the model's own, on
        sample texts.
    """

    path: str
    outputs: Mapping[str, Sequence[str | int]]
    difference: float

    def __str__(self) -> str:
        outputs = ", ".join(
            f"{name} [{', '.join(map(str, shape))}]"
            for name, shape in self.outputs.items()
        )
        return (
            f"{self.path}/model.onnx, opset 17\n"
            "  input_ids, attention_mask, token_type_ids [batch, sequence] -> "
            f"{outputs}\n"
            "  largest difference from the model, on sample texts: "
            f"{self.difference:.1e}"
        )


@dataclasses.dataclass(frozen=True)
class ExportedTflite:
    """An exported file for LiteRT.

    Attributes:
      path: the file.
      description: the content of the electra_tf.json in it.
      difference: largest difference between an output and the model's own, on
        sample texts.
      metrics: metrics of the model and of the file on `data`: "float32" and
        "int8" -> split -> metric -> value; empty without data.
    """

    path: str
    description: Mapping[str, Any]
    difference: float
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]]

    def __str__(self) -> str:
        about = self.description
        outputs = ", ".join(
            f"{name} {shape}" for name, shape in about["outputs"].items()
        )
        lines = [
            f"{self.path}, {about['weights']}",
            f"  {', '.join(about['inputs'])} [1, length] -> {outputs}",
            "  largest difference from the model, on sample texts: "
            f"{self.difference:.1e}",
        ]
        if self.metrics:
            model, lite = self.metrics["float32"], self.metrics["int8"]
            for split, found in model.items():
                for name, value in found.items():
                    lines.append(
                        f"  {split} {name}: {value:.4f} in float32, "
                        f"{lite[split][name]:.4f} in int8"
                    )
        return "\n".join(lines)


@checked
def export(
    model: str,
    output: str,
    *,
    version: Annotated[int, Setting(at_least=1, at_most=2**63 - 1)]
    | None = None,
    signatures: str | Sequence[str] | None = None,
    part: Literal["discriminator", "generator"] | None = None,
    task: str | None = None,
    overrides: config.Overrides = (),
    float16: bool = False,
    optimize: bool = False,
    bfloat16: bool = False,
    litert: bool = False,
    int8: bool = False,
    data: str | None = None,
    explain: bool = False,
    format: Literal["savedmodel", "onnx", "tflite"] = "savedmodel",
) -> Exported | ExportedOnnx | ExportedTflite:
    """Writes a model as a SavedModel that takes texts, as ONNX, or as .tflite.

        electra-tf export --model=RUN --output=DIR

    Writes DIR/1, or the next number if versions exist: text in, predictions
    out, with the tokenizer inside. The directory's name is the model's. A
    server that watches DIR never sees an incomplete version.

    A fine-tuned model answers as its task does; a pre-trained discriminator
    says for each token of a text whether it was replaced, a generator fills
    in [MASK]. All of them turn texts into vectors too (signatures embed, the
    mean, and embed_first, the first token's). Classifiers and regressors have
    the signatures that TensorFlow Serving's Classify and Regress ask for
    (classification, regression).

    With --format=onnx it writes DIR/model.onnx, for ONNX Runtime: token ids in
    (input_ids, attention_mask, token_type_ids), logits out, or the last hidden
    states where there is no head; tokenizer.json, vocab.txt and config.json lie
    beside it, as Hugging Face's libraries read them. It is run with ONNX
    Runtime before it is kept, and compared with the model.

    With --format=tflite --output is one file, for LiteRT on phones and other
    small machines: token ids in, logits out, with vocabulary, labels and
    lengths in it. It is compared with the model before it is written.

    Args:
      model: run of finetune or pretrain, model directory, or a model of another
        format
      output: directory for the model's versions
      version: number of this version; the next one if not given
      signatures: names of signatures, separated by commas; all by default
      part: part of a pre-trained model: discriminator or generator; by default
        the discriminator, if there is one
      task: predict for this task, if its head is the same
      overrides: options.key=value, which override those of the fine-tuning
      float16: store the weights in half the bytes; outputs differ by 3 % at
        most, usually by much less
      optimize: freeze the weights into the graph, which runs faster on a CPU;
        outputs differ by 1e-5 at most, those above 1 by that share of them
      bfloat16: with --optimize: multiply matrices in bfloat16, for servers
        whose processors have instructions for it (avx512_bf16 or amx_bf16 in
        /proc/cpuinfo), where it is faster; elsewhere it is slower; outputs
        differ by 3 % at most, usually by less than 1 %
      litert: add the encoder for LiteRT, with which serve is faster (pip
        install 'electra-tf[litert]' there); outputs differ by 1e-4 at most,
        those above 1 by that share of them, without --int8
      int8: for .tflite files and --litert: store large matrices in 8 bits and
        multiply in 8 bits, which is a quarter of the size and several times as
        fast; outputs differ a little
      data: with --format=tflite --int8: the task's data, with labels; prints
        metrics of float32 and int8 on its validation split
      explain: add a signature explain to a classifier or regressor of texts,
        which returns what each token contributes; the page of serve shows it
      format: format to write: a SavedModel, model.onnx or one .tflite file

    Returns:
      The exported model.

    Raises:
      UserError: the model is missing or has nothing to predict, the version
        exists already, or the export's outputs differ from the model's.
    """
    from electra_tf import files
    from electra_tf.exporting import writer

    if float16 and optimize:
        raise UserError("--float16 and --optimize: give one of them")
    if bfloat16 and not optimize:
        raise UserError("--bfloat16: is for --optimize; give both of them")
    if isinstance(signatures, str):
        names = map(str.strip, signatures.split(","))
        signatures = [name for name in names if name]
    if signatures is not None and not signatures:
        raise UserError(
            "--signatures: names none; leave the flag out for all of them"
        )
    files.check_place(output, folder=format != "tflite")
    if format == "onnx":
        return _to_onnx(
            model, output, signatures, part, task, overrides,
            {"version": version, "float16": float16, "optimize": optimize,
             "bfloat16": bfloat16, "explain": explain, "litert": litert,
             "int8": int8, "data": data},
        )  # fmt: skip
    if format == "tflite":
        return _to_tflite(
            model, output, signatures, part, task, overrides, int8, data,
            {"version": version, "float16": float16, "optimize": optimize,
             "bfloat16": bfloat16, "explain": explain, "litert": litert},
        )  # fmt: skip
    if data is not None:
        raise UserError("--data: is for --format=tflite; leave it out")
    if int8 and not litert:
        raise UserError(
            "--int8: is for --litert and --format=tflite; give one of them"
        )
    writer.model_name(output)  # fails before the model is read
    written = writer.export(
        _open(model, part, task, overrides),
        output,
        version,
        signatures,
        _storage(float16, optimize, bfloat16),
        explain,
        ("int8" if int8 else "float32") if litert else None,
    )
    return Exported(written.path, written.version, written.description)


def _storage(float16: bool, optimize: bool, bfloat16: bool) -> "Storage":
    """Names the form of the weights that the flags ask for."""
    if optimize:
        return "bfloat16" if bfloat16 else "constants"
    return "float16" if float16 else "float32"


def _to_onnx(
    model: str,
    output: str,
    signatures: Sequence[str] | None,
    part: Literal["discriminator", "generator"] | None,
    task: str | None,
    overrides: config.Overrides,
    others: Mapping[str, Any],
) -> ExportedOnnx:
    """Exports to ONNX; `others` are flags for SavedModels only."""
    from electra_tf.exporting import onnx_files, onnx_graph

    _refuse(others, "onnx")
    for name in ("onnx", "onnxruntime"):  # fails before the model is read
        onnx_graph.package(name)
    written = onnx_files.write(
        _open(model, part, task, overrides, headless=True), output, signatures
    )
    return ExportedOnnx(written.path, written.outputs, written.difference)


def _to_tflite(
    model: str,
    output: str,
    signatures: Sequence[str] | None,
    part: Literal["discriminator", "generator"] | None,
    task: str | None,
    overrides: config.Overrides,
    int8: bool,
    data: str | None,
    others: Mapping[str, Any],
) -> ExportedTflite:
    """Exports to LiteRT; `others` are flags for SavedModels only."""
    from electra_tf import files
    from electra_tf import litert as runtime
    from electra_tf.exporting import tflite
    from electra_tf.prediction import predictor

    _refuse(others, "tflite")
    tflite.check(output, signatures)  # fails before the model is read
    if data is not None:
        if not int8:
            raise UserError(
                "--data: is for --int8; in float32 the metrics are the model's "
                "own"
            )
        runtime.interpreter_class()
    opened = _open(model, part, task, overrides, headless=True)
    if data is not None and opened.predictor is None:
        raise UserError(
            f"--data: {model} was not fine-tuned, and has no metrics; leave "
            "it out"
        )
    metrics: dict[str, dict[str, dict[str, float]]] = {}

    def measure(name: Literal["float32", "int8"]) -> None:
        if data is not None:
            loaded = predictor.load(
                model, task=task, overrides=overrides, data=data,
                int8=name == "int8",
            )  # fmt: skip
            metrics[name] = predictor.evaluate(loaded)

    # The file is written last, so that nothing is left after an error.
    measure("float32")
    made = tflite.prepare(opened, signatures, int8)
    measure("int8")
    files.write_bytes(output, made.content)
    return ExportedTflite(output, made.description, made.difference, metrics)


def _refuse(flags: Mapping[str, Any], format: str) -> None:
    """Refuses flags that do not belong to a format."""
    for flag, value in flags.items():
        if value:
            raise UserError(
                f"--{flag}: is not for --format={format}; leave it out"
            )


def _open(
    path: str,
    part: Literal["discriminator", "generator"] | None,
    task: str | None,
    overrides: config.Overrides,
    headless: bool = False,
) -> "Servable":
    """Opens the model as the arguments say."""
    from electra_tf.exporting import servable
    from electra_tf.hub import loading
    from electra_tf.prediction import predictor

    path = loading.locate(path)
    if servable.is_fine_tuned(path):
        if part is not None:
            raise UserError(
                f"--part: is for pre-trained models, and {path} was "
                "fine-tuned; leave it out"
            )
        return servable.of_predictor(
            predictor.load(path, task=task, overrides=overrides)
        )
    for flag, value in (("task", task), ("set", overrides)):
        if value:
            raise UserError(
                f"--{flag}: is for fine-tuned models, and {path} was not; "
                "leave it out"
            )
    return servable.open_pretrained(path, part, headless)
