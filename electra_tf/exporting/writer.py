"""Writes a model as a SavedModel that takes texts.

    DIR/1/saved_model.pb, variables/, assets/, fingerprint.pb
    DIR/1/assets.extra/electra_tf.json   what the model is; see `description`
    DIR/1/assets.extra/tf_serving_warmup_requests   see `serving_files`
    DIR/1/assets.extra/encoder.tflite    if asked for; see `litert_files`
    DIR/models.config ...                see `serving_files`

A version is made under a temporary name beside its place and renamed when it is
complete, so that a server which watches DIR never sees a part of one. The graph
only has operations of TensorFlow and TensorFlow Text: it runs wherever these
are, with or without Python.
"""

import contextlib
import functools
import json
import logging
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from electra_tf import files, processor
from electra_tf.errors import UserError
from electra_tf.exporting import description, litert_files, serving_files
from electra_tf.exporting.graphs import example_signatures
from electra_tf.exporting.graphs.inputs import Signatures
from electra_tf.exporting.servable import Servable
from electra_tf.models import packed_encoder, products
from electra_tf.text import unknown

_log = logging.getLogger(__name__)

# Model names that servers accept in addresses and files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# "float32": variables. "float16": variables of half the size, widened at each
# request. "constants": weights in the graph, which TensorFlow then fuses and
# folds. "bfloat16": such constants, with products of bfloat16.
Storage = Literal["float32", "float16", "constants", "bfloat16"]

# Allowed difference of outputs from the model's own: absolute, and relative.
TOLERANCES: dict[Storage, float] = {
    "float32": 1e-5, "float16": 3e-2, "constants": 1e-5, "bfloat16": 3e-2,
}  # fmt: skip


class _Stored(NamedTuple):
    """Signatures, with the variables that they read."""

    functions: Signatures
    variables: list[tf.Variable]


class Export(NamedTuple):
    """The result of an export."""

    path: str  # DIR/version
    version: int
    description: dict[str, Any]  # of electra_tf.json


def export(
    servable: Servable,
    output: str,
    version: int | None = None,
    names: Iterable[str] | None = None,
    storage: Storage = "float32",
    explain: bool = False,
    lite: Literal["float32", "int8"] | None = None,
) -> Export:
    """Writes the next version of a model.

    Args:
      servable: the model.
      output: directory of its versions, created if absent, with the model's
        name.
      version: a number from 1; None takes the next one.
      names: names of signatures; None means all.
      storage: how the weights are stored; except for "float32", predictions on
        the examples are compared with the model's own.
      explain: whether to add the signature `explain`.
      lite: if given, adds the files for `serve` with LiteRT in this precision;
        see `litert_files`.

    Raises:
      UserError: the version exists, servers do not accept the name, it cannot
        be written, its outputs differ from the model's, or a model that
        generates texts was to multiply in bfloat16.
    """
    if storage == "bfloat16" and servable.kind == "seq2seq":
        # The rounding of each step adds up, and would choose other words.
        raise UserError(
            f"--bfloat16: {servable.task_name} generates texts, and bfloat16 "
            "would change them; leave the flag out"
        )
    problem = processor.bfloat16_problem() if storage == "bfloat16" else None
    if problem is not None:
        raise UserError(f"--bfloat16: {problem}; change that variable")
    name = model_name(output)
    if version is not None:
        _check_version(output, version)
    _warn_of_vocabulary(servable)
    made = servable.signatures(names, explain)
    about = description.describe(servable, name, made)
    about["weights"] = storage
    requests = serving_files.warmup_requests(about)
    prepared = None
    if lite is not None:
        prepared = litert_files.prepare(servable, made, lite == "int8")
        about["litert"] = prepared.description
        prepared.description["largest_difference"] = litert_files.difference(
            prepared, made, requests
        )
    files.make_directory(output)
    temporary = files.join(output, f".tmp-{uuid.uuid4().hex[:8]}")
    try:
        halves = prepared.functions if prepared else {}
        kept = _stored({**made, **halves}, servable.network, storage)
        _save(servable, kept, temporary, halves)
        extra = files.join(temporary, description.FOLDER)
        files.make_directory(extra)
        if prepared is not None:
            files.write_bytes(
                files.join(extra, litert_files.FILE), prepared.content
            )
        files.write_text(
            files.join(extra, description.FILE),
            json.dumps(about, ensure_ascii=False, indent=2) + "\n",
        )
        serving_files.write_warmup(
            files.join(extra, serving_files.WARMUP_FILE),
            [
                serving_files.warmup_message(name, *request)
                for request in requests
            ],
        )
        if storage != "float32":
            _compare(made, temporary, requests, storage)
        if version is None:
            version = max(versions(output), default=0) + 1
        path = files.join(output, str(version))
        _check_version(output, version)
        files.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(Exception):
            files.remove(temporary)
        raise
    serving_files.write(output, name, _curl(about))
    return Export(path, version, about)


def _warn_of_vocabulary(servable: Servable) -> None:
    """Warns of a vocabulary that does not fit texts; the export continues."""
    tokenizer, share = servable.tokenizer, servable.unknown_percent
    problem = unknown.vocabulary_problem(tokenizer.vocab, tokenizer.lower_case)
    if problem is not None:
        _log.warning("%s", problem)
    if share is not None and share > unknown.WARN_ABOVE:
        _log.warning("%.2f %% of the training tokens were [UNK]", share)


def _curl(about: Mapping[str, Any]) -> str:
    """Returns the body of a sample request."""
    row = about["examples"][0]
    instance = row if len(row) > 1 else next(iter(row.values()))
    return json.dumps({"instances": [instance]}, ensure_ascii=False)


def model_name(output: str) -> str:
    """Returns the name of the model whose versions are in `output`.

    Raises:
      UserError: servers do not accept such a name.
    """
    name = output.rstrip("/").rpartition("/")[2]
    if not _NAME.fullmatch(name):
        raise UserError(
            f"--output: {output}: the directory's name is the model's; "
            f"expected letters, digits, '-', '_' and '.', got '{name}'"
        )
    return name


def versions(output: str) -> list[int]:
    """Returns the versions in a directory, ascending; empty if missing.

    A number of more than 64 bits is no version to a server.
    """
    if not files.is_directory(output):
        return []
    return sorted(
        int(name)
        for name in files.list_directory(output)
        if name.isascii() and name.isdigit() and int(name) < 2**63
    )


def _check_version(output: str, version: int) -> None:
    path = files.join(output, str(version))
    if version in versions(output) or files.exists(path):
        raise UserError(
            f"--version: {path} is there already; leave the flag out for the "
            "next one"
        )


def _save(
    servable: Servable, kept: _Stored, folder: str, halves: Iterable[str] = ()
) -> None:
    """Writes the SavedModel; `halves` are functions, not signatures."""
    module = tf.Module(name="model")
    # Only the variables: Keras's own bookkeeping is not needed.
    module.weights = kept.variables
    module.tokenizer = servable.tokenizer
    concrete = {
        name: function.get_concrete_function()
        for name, function in kept.functions.items()
    }
    apart = {name: kept.functions[name] for name in halves}
    if apart:
        setattr(module, litert_files.HALVES, apart)
        concrete = {n: f for n, f in concrete.items() if n not in apart}
    with _quiet(), files.named_errors(folder, "write"):
        tf.saved_model.save(module, folder, signatures=concrete)
        _name_methods(folder, kept.functions)


def _name_methods(folder: str, functions: Iterable[str]) -> None:
    """Marks the signatures for Classify and Regress.

    TensorFlow 2 marks all as Predict. The graph's hash in fingerprint.pb is not
    updated, as it only identifies models.
    """
    methods = {
        name: method
        for name, method in example_signatures.METHODS.items()
        if name in functions
    }
    if methods:
        v1 = tf.compat.v1.saved_model.signature_def_utils
        updater = v1.MethodNameUpdater(folder)
        for name, method in methods.items():
            updater.replace_method_name(name, method)
        updater.save()


def _compare(
    made: Signatures,
    folder: str,
    requests: Iterable[serving_files.Request],
    storage: Storage,
) -> None:
    """Refuses an export whose outputs differ too much from the model's."""
    loaded = tf.saved_model.load(folder)
    tolerance = TOLERANCES[storage]
    for name, texts in requests:
        inputs = {key: tf.constant(value) for key, value in texts.items()}
        share = _largest_difference(
            made[name](**inputs), loaded.signatures[name](**inputs), tolerance
        )
        if share > 1.0:
            raise UserError(
                f"with weights stored as {storage}, the outputs of {name} "
                f"differ from the model's by {share * tolerance:.1g}, more "
                f"than {tolerance:g}, so nothing was written; leave --float16, "
                "--bfloat16 or --optimize out"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses TensorFlow's messages about written files."""
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _stored(
    functions: Signatures, network: keras.Model, storage: Storage
) -> _Stored:
    """Makes signatures that read the weights in their storage.

    Args:
      functions: tf.functions with an input signature that call the network,
        without inner tf.functions except those in `example_signatures.METHODS`.
      network: the network, read now; later training has no effect, except for
        "float32".
      storage: how weights are stored.

    Raises:
      UserError: a weight is too large for float16.
    """
    if storage == "float32":
        return _Stored(dict(functions), [v.value for v in network.weights])
    variables: list[tf.Variable] = []
    if storage == "float16":
        variables = [_half(v) for v in network.weights]

        @contextlib.contextmanager
        def reading() -> Iterator[None]:
            values = [tf.cast(v, tf.float32) for v in variables]
            with keras.StatelessScope(list(zip(network.weights, values))):
                yield
    else:
        constants = [tf.constant(v.numpy()) for v in network.weights]
        rounded = storage == "bfloat16"
        # One for all signatures, which then share its constants.
        encoder = functools.cache(
            functools.partial(packed_encoder.PackedEncoder, bfloat16=rounded)
        )

        @contextlib.contextmanager
        def reading() -> Iterator[None]:
            with (
                keras.StatelessScope(list(zip(network.weights, constants))),
                packed_encoder.installed(network, encoder),
                products.in_bfloat16(rounded),
            ):
                yield

    again = {
        name: _reading(function, reading)
        for name, function in functions.items()
        if name not in example_signatures.METHODS
    }
    for name in example_signatures.METHODS.keys() & functions.keys():
        again |= example_signatures.signatures(name, again)
    return _Stored(again, variables)


def _half(variable: keras.Variable) -> tf.Variable:
    value = variable.numpy()
    if np.abs(value).max(initial=0.0) > np.finfo(np.float16).max:
        raise UserError(
            f"--float16: {variable.path} has a weight of "
            f"{np.abs(value).max():g}, which float16 cannot hold; leave the "
            "flag out"
        )
    return tf.Variable(value.astype(np.float16), trainable=False)


def _reading(
    function: tf.types.experimental.GenericFunction,
    reading: Callable[[], contextlib.AbstractContextManager[None]],
) -> tf.types.experimental.GenericFunction:
    """Traces the tf.function again, within `reading()`."""
    inner = function.python_function

    @functools.wraps(inner)
    def call(*args: tf.Tensor) -> dict[str, tf.Tensor]:
        with reading():
            return inner(*args)

    return tf.function(
        call, input_signature=function.input_signature, autograph=False
    )


def _largest_difference(
    one: Mapping[str, Any], other: Mapping[str, Any], tolerance: float
) -> float:
    """Returns the largest difference of outputs, relative to the tolerance.

    Args:
      one: name -> tensor, of the model itself.
      other: the same for the export; only floats are compared.
      tolerance: absolute tolerance, which is also the relative one.

    Returns:
      The ratio; 1 is just allowed.
    """
    worst = 0.0
    for name, value in one.items():
        if value.dtype.is_floating and tf.size(value) > 0:
            a, b = value.numpy(), other[name].numpy()
            share = np.abs(a - b) / (tolerance * (1.0 + np.abs(a)))
            worst = max(worst, float(np.nan_to_num(share, nan=np.inf).max()))
    return worst
