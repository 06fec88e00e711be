"""Loads a SavedModel by TensorFlow, and calls its signatures.

TensorFlow is imported when a model is loaded.
"""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import numpy as np

from electra_tf import files, litert, processor
from electra_tf.errors import UserError
from electra_tf.serving.server import (
    cancelable,
    lite_signatures,
    model_settings,
    steps,
)
from electra_tf.serving.server.limits import (
    NO_SETTINGS,
    ModelSettings,
    RequestError,
    invalid,
)
from electra_tf.serving.server.signatures import (
    PREDICT,
    SignatureInfo,
    TensorInfo,
)
from electra_tf.serving.server.steps import Steps

_LOG = logging.getLogger("electra_tf.serving")
SAVED_MODEL = "saved_model.pb"
_DESCRIPTION = ("assets.extra", "electra_tf.json")
_INIT_SIGNATURE = "__saved_model_init_op"
# Lines of TensorFlow's messages that do not show the cause.
_NO_REASONS = ("Graph execution", "Detected at", "You may be trying")

# HTTP statuses for TensorFlow's errors, as in TensorFlow Serving.
_STATUSES = {
    "CancelledError": HTTPStatus.SERVICE_UNAVAILABLE,
    "InvalidArgumentError": HTTPStatus.BAD_REQUEST,
    "DeadlineExceededError": HTTPStatus.GATEWAY_TIMEOUT,
    "NotFoundError": HTTPStatus.NOT_FOUND,
    "ResourceExhaustedError": HTTPStatus.TOO_MANY_REQUESTS,
    "FailedPreconditionError": HTTPStatus.BAD_REQUEST,
    "OutOfRangeError": HTTPStatus.BAD_REQUEST,
    "UnimplementedError": HTTPStatus.NOT_IMPLEMENTED,
    "UnavailableError": HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A loaded version of a model.

    Attributes:
      name: name of the model.
      version: its number.
      signatures: description of inputs and outputs, by signature.
      description: `assets.extra/electra_tf.json`; None if it has none.
      functions: callables of the SavedModel, by signature, with those of steps.
      saved_model: the loaded SavedModel, which owns the variables.
      settings: settings of the model.
      step_inputs: inputs of each step, by its name.
      lite: the signatures run by LiteRT, or None.
    """

    name: str
    version: int
    signatures: dict[str, SignatureInfo]
    description: dict[str, Any] | None
    functions: Mapping[str, Any]
    saved_model: Any
    settings: ModelSettings = NO_SETTINGS
    step_inputs: Mapping[str, Sequence[str]] = dataclasses.field(
        default_factory=dict
    )
    lite: lite_signatures.LiteSignatures | None = None

    def find_signature(self, name: str) -> SignatureInfo:
        """Returns the description of a signature.

        Raises:
          RequestError: 400, the model has no signature of this name.
        """
        if name not in self.signatures:
            raise invalid(
                f'Serving signature name: "{name[:100]}" not found in '
                "signature def"
            )
        return self.signatures[name]

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        stop: cancelable.Stop | None = None,
    ) -> dict[str, np.ndarray]:
        """Calls a signature; several threads may do so at once.

        Args:
          signature: its name.
          inputs: an array for each input; strings are `bytes` objects.
          stop: ends the call.

        Returns:
          An array for each output, in the order of their names.

        Raises:
          RequestError: TensorFlow refused; the status is TensorFlow Serving's.
        """
        with _as_request_errors():
            tensors = self._tensors(signature, inputs)
            stop = stop or cancelable.Stop()
            texts = max((array.size for array in inputs.values()), default=0)
            if self.lite is not None and self.lite.takes(signature, texts):
                outputs = dict(self.lite.call(signature, tensors, stop))
            else:
                function = self.functions[signature]
                outputs = cancelable.call(function, tensors, stop)
            return self._arrays(signature, outputs)

    def steps_of(self, signature: str) -> Steps | None:
        """Returns the steps of a signature, or None.

        Only TensorFlow has steps, not LiteRT.
        """
        lite = self.lite is not None and self.lite.takes(signature)
        if lite or signature + steps.BEGIN not in self.step_inputs:
            return None

        def call(
            end: str, given: Mapping[str, Any], stop: cancelable.Stop
        ) -> dict[str, Any]:
            name = signature + end
            with _as_request_errors():
                wanted = {key: given[key] for key in self.step_inputs[name]}
                return cancelable.call(self.functions[name], wanted, stop)

        def begin(
            inputs: Mapping[str, np.ndarray], stop: cancelable.Stop
        ) -> tuple[steps.State, int]:
            tensors = self._tensors(signature, inputs)
            state = call(steps.BEGIN, tensors, stop)
            return state, int(state[steps.COUNT])

        def part(
            state: steps.State, first: int, last: int, stop: cancelable.Stop
        ) -> steps.State:
            import tensorflow as tf

            which = {steps.FIRST: first, steps.AFTER_LAST: last}
            numbers = {k: tf.constant(v, tf.int32) for k, v in which.items()}
            return call(steps.PART, state | numbers, stop)

        def end(
            state: steps.State,
            parts: Sequence[steps.State],
            stop: cancelable.Stop,
            check: steps.Check,
        ) -> dict[str, np.ndarray]:
            import tensorflow as tf

            for key in list(parts[0]):
                state[key] = tf.concat([each.pop(key) for each in parts], 0)
            outputs = call(steps.END, state, stop)
            # The rest of a long text is large, and so is its response.
            state.clear()
            check(outputs)
            return self._arrays(signature, outputs)

        return Steps(begin, part, end)

    def _tensors(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        import tensorflow as tf

        info = self.signatures[signature]
        return {
            name: tf.constant(
                # An empty array of objects has no known type.
                array.tolist() if not array.size else array,
                _tensorflow_type(info.inputs[name]),
                shape=array.shape,
            )
            for name, array in inputs.items()
        }

    def _arrays(
        self, signature: str, outputs: dict[str, Any]
    ) -> dict[str, np.ndarray]:
        names = self.signatures[signature].outputs
        return {name: outputs.pop(name).numpy() for name in names}

    def warm_up(self) -> None:
        """Runs each signature once, on the examples of the description.

        The first call of a signature is slow, and no client should have to wait
        for it.
        """
        examples = (self.description or {}).get("examples") or []
        rows = [row for row in examples if isinstance(row, dict) and row]
        if not rows:
            return
        for name, info in self.signatures.items():
            if any(
                each.dtype != "DT_STRING" or each.shape != (None,)
                for each in info.inputs.values()
            ):
                continue
            if info.by_examples:
                self.run(name, dict.fromkeys(info.inputs, _examples(rows)))
                continue
            # Inputs that an example lacks may be empty, such as a label to
            # explain; otherwise any text will do.
            own = any(key in rows[0] for key in info.inputs)
            others = ["" if own else next(iter(row.values())) for row in rows]
            columns = {
                key: [str(row.get(key) or o) for row, o in zip(rows, others)]
                for key in info.inputs
            }
            inputs = {k: _strings(v) for k, v in columns.items()}
            self.run(name, inputs)
            in_steps, stop = self.steps_of(name), cancelable.Stop()
            if in_steps is not None:
                state, count = in_steps.begin(inputs, stop)
                found = in_steps.part(state, 0, count, stop)
                in_steps.end(state, [found], stop, lambda _: None)


def load(
    name: str, version: int, directory: str, engine: litert.Engine = "auto"
) -> LoadedModel:
    """Loads a SavedModel and warms it up.

    Args:
      name: name of the model.
      version: its number.
      directory: directory with `saved_model.pb`.
      engine: see `lite_signatures.of_version`.

    Raises:
      UserError: the SavedModel is unreadable or damaged, or needs missing
        operations; the directory is named.
    """
    import tensorflow as tf

    try:
        # Importing it registers its operations with TensorFlow.
        import tensorflow_text  # noqa: F401
    except ImportError as error:
        _LOG.warning("tensorflow-text is not there: %s", error)
    try:
        settings = model_settings.of_version(directory)
        infos = _signatures(directory)
        step_inputs = {
            name + end: list(infos.pop(name + end).inputs)
            for name in steps.of_names(infos)
            for end in steps.SUFFIXES
        }
        description = _description(directory)
        if (description or {}).get("weights") == "bfloat16":
            _check_bfloat16(directory)
        loaded = tf.saved_model.load(directory, tags=["serve"])
        model = LoadedModel(
            name,
            version,
            {key: infos[key] for key in loaded.signatures if key in infos},
            description,
            dict(loaded.signatures),
            loaded,
            settings,
            step_inputs,
            lite_signatures.of_version(engine, directory, description, loaded),
        )
        if not model.signatures:
            raise UserError(f"{directory}: the SavedModel has no signatures")
        model.warm_up()
    except UserError:
        raise
    except (MemoryError, ImportError):
        raise
    except Exception as error:
        # TensorFlow has no single exception for models that it cannot load.
        raise UserError(
            f"cannot load {directory}: {_reason(str(error))}; if it is not "
            "whole, copy or export it again"
        ) from error
    return model


@contextlib.contextmanager
def _as_request_errors() -> Iterator[None]:
    """Converts TensorFlow's errors to RequestErrors."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        status = _STATUSES.get(
            type(error).__name__, HTTPStatus.INTERNAL_SERVER_ERROR
        )
        raise RequestError(status, _reason(error.message)) from error


def _signatures(directory: str) -> dict[str, SignatureInfo]:
    """Reads the signatures from `saved_model.pb`."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(files.read_bytes(files.join(directory, SAVED_MODEL)))
    graphs = [
        graph
        for graph in saved.meta_graphs
        if "serve" in graph.meta_info_def.tags
    ]
    if not graphs:
        raise UserError(f"{directory}: no graph is tagged for serving")
    return {
        name: SignatureInfo(
            # Protocol buffers order them differently in each process.
            {k: _tensor_info(v) for k, v in sorted(definition.inputs.items())},
            {k: _tensor_info(v) for k, v in sorted(definition.outputs.items())},
            definition.method_name or PREDICT,
        )
        for name, definition in sorted(graphs[0].signature_def.items())
        if name != _INIT_SIGNATURE
    }


def _tensor_info(proto: Any) -> TensorInfo:
    from tensorflow.core.framework import types_pb2

    shape = proto.tensor_shape
    sizes = tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
    return TensorInfo(
        types_pb2.DataType.Name(proto.dtype),
        None if shape.unknown_rank else sizes,
        proto.name,
    )


def _tensorflow_type(info: TensorInfo) -> Any:
    import tensorflow as tf
    from tensorflow.core.framework import types_pb2

    return tf.dtypes.as_dtype(types_pb2.DataType.Value(info.dtype))


def _check_bfloat16(directory: str) -> None:
    """Refuses, or warns, where this machine should not multiply bfloat16."""
    problem = processor.bfloat16_problem()
    if problem is not None:
        raise UserError(
            f"{directory}: it multiplies in bfloat16; {problem}; change that "
            "variable, or export the model without --bfloat16"
        )
    if processor.bfloat16_instructions() is None:
        _LOG.warning(
            "%s: it multiplies in bfloat16, which is slow on this processor; "
            "export the model without --bfloat16", directory,
        )  # fmt: skip


def _description(directory: str) -> dict[str, Any] | None:
    path = files.join(directory, *_DESCRIPTION)
    if not files.exists(path):
        return None
    try:
        found = json.loads(files.read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    return found if isinstance(found, dict) else None


def _strings(texts: list[str]) -> np.ndarray:
    array = np.empty(len(texts), object)
    array[:] = [text.encode("utf-8") for text in texts]
    return array


def _examples(rows: list[dict[str, str]]) -> np.ndarray:
    """Serializes each row as a `tf.Example`."""
    import tensorflow as tf

    array = np.empty(len(rows), object)
    for number, row in enumerate(rows):
        example = tf.train.Example()
        for name, text in row.items():
            values = example.features.feature[name].bytes_list.value
            values.append(str(text).encode("utf-8"))
        array[number] = example.SerializeToString()
    return array


def _reason(message: str) -> str:
    """Returns the cause in a message, without the node and its source lines."""
    head = message.partition("[[{{node")[0]
    lines = [line.strip() for line in head.splitlines()]
    reasons = [
        line for line in lines if line and not line.startswith(_NO_REASONS)
    ]
    # The place in the source comes first, if at all.
    return (reasons[-1] if reasons else message)[:500]
