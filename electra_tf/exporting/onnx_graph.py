"""Builds a network as an ONNX graph, operation by operation.

The graph has the inputs of Hugging Face's exports, `input_ids`,
`attention_mask` and `token_type_ids`, each int64 [batch, sequence], and their
output names. It computes the same as `models.encoder` and the heads without
dropout, in float32, with operations of opset 17, which every ONNX Runtime since
1.12 supports. Scores of padding get the original's offset, so that padding does
not change the outputs of real tokens.

Shapes: B batch, L sequence length, H hidden size, A heads, D = H / A.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models import layers
from electra_tf.models.encoder import ElectraEncoder
from electra_tf.models.task_heads import OUTSIDE

OPSET = 17
_IR_VERSION = 8  # the version of opset 17
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_LAST = "last_hidden_state"
Shape = list[str | int]
_Outputs = dict[str, tuple[str, Shape]]  # name -> inner name, shape
EMBEDDINGS = {"embed": "sentence_embedding", "embed_first": "cls_embedding"}


def package(name: str) -> Any:
    """Imports a package of the extra `onnx`.

    Args:
      name: onnx or onnxruntime.

    Raises:
      UserError: the package is not installed.
    """
    try:
        return __import__(name, fromlist=["helper"])
    except ImportError as error:
        raise UserError(
            f"--format=onnx needs the package {name}: pip install "
            "'electra-tf[onnx]'"
        ) from error


def model(
    network: Any,
    signatures: Sequence[str],
    number: tuple[float, float] | None = None,
) -> Any:
    """Builds the ONNX model of a network.

    Args:
      network: a network of `models.networks` or `models.task_networks` with one
        bidirectional encoder, or such an encoder.
      signatures: "serving_default", the head's logits, or the last hidden
        states without a head; "embed" and "embed_first", one vector for each
        row.
      number: scale and offset from a regression's logit to its number; None for
        others.

    Returns:
      An `onnx.ModelProto`.

    Raises:
      UserError: the network is not supported.
    """
    encoder = network if isinstance(network, ElectraEncoder) else None
    encoder = encoder or getattr(network, "encoder", None)
    kind = type(network).__name__
    if not isinstance(encoder, ElectraEncoder) or encoder.attends != "both":
        raise UserError(
            f"--format=onnx: a {kind} is not supported; encoders, classifiers, "
            "taggers, readers, rankers, discriminators and masked generators "
            "of one encoder are"
        )
    graph = _Graph()
    hidden = _encoder(graph, encoder)
    found: _Outputs = {}
    width = encoder.config.hidden_size
    for name in signatures:
        if name == "serving_default":
            found |= _outputs(graph, network, hidden, number)
        elif name in EMBEDDINGS:
            pooled = _mean if name == "embed" else _first
            found[EMBEDDINGS[name]] = pooled(graph, hidden), ["batch", width]
        else:
            raise UserError(
                f"--signatures: an ONNX export has no '{name}'; there are "
                f"serving_default, {', '.join(EMBEDDINGS)}"
            )
    return graph.model(found)


class _Graph:
    """The nodes and constants of a graph, in order of creation."""

    def __init__(self) -> None:
        self._onnx = package("onnx")
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds an operation; returns the name of its output."""
        name = f"{kind}_{len(self._nodes)}"
        node = self._onnx.helper.make_node(
            kind, inputs, [name], name, **attributes
        )
        self._nodes.append(node)
        return name

    def constant(self, value: Any, dtype: str = "float32") -> str:
        """Adds a constant, unless it exists; returns its name."""
        array = np.ascontiguousarray(value, dtype)
        if np.ndim(value) == 0:
            array = array.reshape(())
        if array.size > 8:
            key = f"weight_{len(self._constants)}"
        else:
            key = f"{dtype}_{array.shape}_{array.tobytes().hex()}"
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            tensor = self._onnx.numpy_helper.from_array(array, name)
            self._constants[key] = tensor
        return self._constants[key].name

    def weight(self, value: Any) -> str:
        """Adds a variable's values."""
        return self.constant(tf.convert_to_tensor(value).numpy())

    def ints(self, *values: int) -> str:
        """Adds a list of int64, for axes and shapes."""
        return self.constant(list(values), "int64")

    def model(self, outputs: _Outputs) -> Any:
        """Makes the model.

        Args:
          outputs: name -> inner name, and shape.
        """
        helper, types = self._onnx.helper, self._onnx.TensorProto
        shape = ["batch", "sequence"]
        for name, (inside, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [inside], [name]))
        graph = helper.make_graph(
            self._nodes,
            "electra",
            [
                helper.make_tensor_value_info(name, types.INT64, shape)
                for name in INPUTS
            ],
            [
                helper.make_tensor_value_info(name, types.FLOAT, shape)
                for name, (_, shape) in outputs.items()
            ],
            list(self._constants.values()),
        )
        return helper.make_model(
            graph,
            producer_name="electra_tf",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )

    # --- layers ------------------------------------------------------------

    def dense(self, layer: layers.Dense, x: str) -> str:
        """Adds a dense layer: [..., input] -> [..., units]."""
        product = self.op("MatMul", x, self.weight(layer.whole_kernel()))
        return self.op("Add", product, self.weight(layer.bias))

    def norm(self, layer: layers.LayerNorm, x: str) -> str:
        """Adds a layer normalisation of the last axis."""
        return self.op(
            "LayerNormalization",
            x,
            self.weight(layer.gamma),
            self.weight(layer.beta),
            axis=-1,
            epsilon=layer.epsilon,
        )

    def gelu(self, x: str, kind: str) -> str:
        """Adds GELU, in either of its two forms."""
        half = self.op("Mul", x, self.constant(0.5))
        if kind == "tanh":
            cube = self.op("Mul", self.op("Mul", x, x), x)
            inner = self.op("Mul", cube, self.constant(0.044715))
            inner = self.op("Add", x, inner)
            scale = self.constant(math.sqrt(2.0 / math.pi))
            share = self.op("Tanh", self.op("Mul", inner, scale))
        else:
            scale = self.constant(math.sqrt(0.5))
            share = self.op("Erf", self.op("Mul", x, scale))
        return self.op("Mul", half, self.op("Add", share, self.constant(1.0)))

    def squeezed(self, x: str) -> str:
        """Adds a squeeze of the last axis: [..., 1] -> [...]."""
        return self.op("Squeeze", x, self.ints(-1))


def _encoder(graph: _Graph, encoder: ElectraEncoder) -> str:
    """Adds the encoder; returns the last hidden states, [B, L, H]."""
    config, embeddings = encoder.config, encoder.embeddings
    ids, mask, segments = INPUTS
    if config.type_vocab_size == 1:
        segments = graph.op("Mul", segments, graph.constant(0, "int64"))
    x = graph.op("Gather", graph.weight(embeddings.word_embeddings), ids)
    types = graph.op(
        "Gather", graph.weight(embeddings.token_type_embeddings), segments
    )
    length = graph.op("Shape", ids, start=1, end=2)
    positions = graph.op(
        "Slice",
        graph.weight(embeddings.position_embeddings),
        graph.ints(0),
        length,
        graph.ints(0),
    )
    x = graph.op("Add", graph.op("Add", x, types), positions)
    x = graph.norm(embeddings.norm, x)
    if encoder.embeddings_project is not None:
        x = graph.dense(encoder.embeddings_project, x)
    real = graph.op("Cast", mask, to=graph_float())
    padding = graph.op("Sub", graph.constant(1.0), real)
    bias = graph.op("Mul", padding, graph.constant(layers.MASKED_SCORE))
    bias = graph.op("Unsqueeze", bias, graph.ints(1, 2))  # [B, 1, 1, L]
    for block in encoder.blocks:
        x = _block(graph, block, x, bias)
    return x


def graph_float() -> int:
    """Returns ONNX's type number of float32."""
    return package("onnx").TensorProto.FLOAT


def _block(graph: _Graph, block: layers.Block, x: str, bias: str) -> str:
    """Adds a block of the Transformer: [B, L, H] -> [B, L, H]."""
    attention, config = block.attention, block.config
    heads = config.num_heads
    size = config.hidden_size // heads
    kernels = np.split(attention.qkv.whole_kernel().numpy(), 3, axis=1)
    biases = np.split(tf.convert_to_tensor(attention.qkv.bias).numpy(), 3)

    def part(number: int, order: Sequence[int]) -> str:
        y = graph.op("MatMul", x, graph.constant(kernels[number]))
        y = graph.op("Add", y, graph.constant(biases[number]))
        y = graph.op("Reshape", y, graph.ints(0, 0, heads, size))
        return graph.op("Transpose", y, perm=order)

    query, value = part(0, (0, 2, 1, 3)), part(2, (0, 2, 1, 3))
    scores = graph.op("MatMul", query, part(1, (0, 2, 3, 1)))  # [B, A, L, L]
    scores = graph.op("Mul", scores, graph.constant(size**-0.5))
    scores = graph.op("Add", scores, bias)
    shares = graph.op("Softmax", scores, axis=-1)
    context = graph.op("MatMul", shares, value)
    context = graph.op("Transpose", context, perm=(0, 2, 1, 3))
    context = graph.op("Reshape", context, graph.ints(0, 0, config.hidden_size))
    attended = graph.dense(attention.output_dense, context)
    x = graph.norm(block.attention_norm, graph.op("Add", attended, x))
    inner = graph.gelu(graph.dense(block.intermediate, x), config.gelu)
    outer = graph.dense(block.output_dense, inner)
    return graph.norm(block.output_norm, graph.op("Add", outer, x))


def _first(graph: _Graph, hidden: str) -> str:
    """Adds the first tokens' states: [B, L, H] -> [B, H]."""
    return graph.op("Gather", hidden, graph.constant(0, "int64"), axis=1)


def _mean(graph: _Graph, hidden: str) -> str:
    """Adds the mean over real tokens: [B, L, H] -> [B, H]."""
    real = graph.op("Cast", INPUTS[1], to=graph_float())
    real = graph.op("Unsqueeze", real, graph.ints(-1))
    states = graph.op("Mul", hidden, real)
    total = graph.op("ReduceSum", states, graph.ints(1), keepdims=0)
    count = graph.op("ReduceSum", real, graph.ints(1), keepdims=0)
    # At least one token, if there is a row.
    count = graph.op("Max", count, graph.constant(1.0))
    return graph.op("Div", total, count)


# --- heads -----------------------------------------------------------------


def _outputs(
    graph: _Graph,
    network: Any,
    hidden: str,
    number: tuple[float, float] | None,
) -> _Outputs:
    """Adds the network's head; returns name -> output and shape."""
    head = getattr(network, "head", None)
    at: Shape = ["batch", "sequence"]
    if head is None:
        width = network.config.hidden_size
        return {_LAST: (hidden, [*at, width])}
    kind = getattr(head.config, "kind", type(head).__name__)
    if kind == "sequence":
        logits = _sequence(graph, head, hidden)
        if number is not None:
            scale, offset = number
            logits = graph.op("Mul", logits, graph.constant(scale))
            logits = graph.op("Add", logits, graph.constant(offset))
        return {"logits": (logits, ["batch", head.config.num_labels])}
    if kind == "token":
        logits = graph.dense(head.output_dense, hidden)
        return {"logits": (logits, [*at, head.config.num_labels])}
    if kind in ("span", "joint_span"):
        make = _spans if kind == "span" else _joint_spans
        start, end, within = make(graph, head, hidden)
        spans: _Outputs = {"start_logits": (start, at), "end_logits": (end, at)}
        if head.answerable is not None:
            impossible = _impossible(graph, head, hidden, within)
            spans["no_answer_logit"] = impossible, ["batch"]
        return spans
    if kind == "ReplacedTokenHead":
        x = graph.gelu(graph.dense(head.dense, hidden), head.config.gelu)
        x = graph.squeezed(graph.dense(head.prediction, x))
        return {"logits": (x, at)}
    if kind == "TokenLMHead":
        return {
            "logits": (
                _token_lm(graph, head, hidden),
                [*at, head.config.vocab_size],
            )
        }
    raise UserError(
        f"--format=onnx: a {type(network).__name__} is not supported: its head "
        "needs more than one pass of the encoder; export it without the flag"
    )


def _sequence(graph: _Graph, head: Any, hidden: str) -> str:
    x = _first(graph, hidden)
    if head.dense is not None:
        x = graph.dense(head.dense, x)
        if head.config.hidden_activation == "tanh":
            x = graph.op("Tanh", x)
        else:
            x = graph.gelu(x, "erf")
    return graph.dense(head.output_dense, x)


def _token_lm(graph: _Graph, head: Any, hidden: str) -> str:
    kind = head.config.head_gelu or head.config.gelu
    x = graph.norm(head.norm, graph.gelu(graph.dense(head.dense, hidden), kind))
    table = head.output_weights
    if table is None:
        table = head.embeddings.word_embeddings
    turned = tf.transpose(tf.convert_to_tensor(table))
    logits = graph.op("MatMul", x, graph.weight(turned))
    return graph.op("Add", logits, graph.weight(head.output_bias))


def _outside(graph: _Graph) -> str:
    """Adds the mask [B, L]: 0 in the second segment and at the first token."""
    _, mask, segments = INPUTS
    allowed = graph.op("Mul", mask, segments)
    zero, one = graph.constant(0, "int64"), graph.constant(1, "int64")
    length = graph.op("Squeeze", graph.op("Shape", mask, start=1, end=2))
    places = graph.op("Range", zero, length, one)
    first = graph.op("Equal", places, zero)
    allowed = graph.op("Cast", allowed, to=graph_float())
    first = graph.op("Cast", first, to=graph_float())
    allowed = graph.op("Max", allowed, first)
    outside = graph.op("Sub", graph.constant(1.0), allowed)
    return graph.op("Mul", outside, graph.constant(OUTSIDE))


def _spans(graph: _Graph, head: Any, hidden: str) -> tuple[str, str, str]:
    """Adds start and end logits, and start logits masked to valid answers."""
    logits = graph.dense(head.output_dense, hidden)  # [B, L, 2]
    start, end = (
        graph.op("Gather", logits, graph.constant(i, "int64"), axis=2)
        for i in range(2)
    )
    if head.answerable is None:
        return start, end, start
    return start, end, graph.op("Add", start, _outside(graph))


def _joint_spans(graph: _Graph, head: Any, hidden: str) -> tuple[str, str, str]:
    """Adds the same for a joint head, with ends for the best start."""
    outside = _outside(graph)
    start = graph.squeezed(graph.dense(head.start, hidden))
    start = graph.op("Add", start, outside)
    best = graph.op("ArgMax", start, axis=1, keepdims=1)  # [B, 1]
    at_start = graph.op("GatherND", hidden, best, batch_dims=1)  # [B, H]
    kernel = head.end_hidden.whole_kernel()
    size = kernel.shape[0] // 2
    of_token = graph.op("MatMul", hidden, graph.weight(kernel[size:]))
    of_start = graph.op("MatMul", at_start, graph.weight(kernel[:size]))
    of_start = graph.op("Unsqueeze", of_start, graph.ints(1))
    x = graph.op("Add", of_token, of_start)  # [B, L, J]
    x = graph.op("Add", x, graph.weight(head.end_hidden.bias))
    end = graph.squeezed(graph.dense(head.end, graph.gelu(x, "erf")))
    return start, graph.op("Add", end, outside), start


def _impossible(graph: _Graph, head: Any, hidden: str, start: str) -> str:
    """Adds the logit of no answer, [B]: above 0 where there is none."""
    shares = graph.op("Softmax", start, axis=-1)
    shares = graph.op("Unsqueeze", shares, graph.ints(1))  # [B, 1, L]
    expected = graph.op("MatMul", shares, hidden)
    expected = graph.op("Squeeze", expected, graph.ints(1))
    x = graph.op("Concat", _first(graph, hidden), expected, axis=-1)
    x = graph.gelu(graph.dense(head.answerable_hidden, x), "erf")
    return graph.squeezed(graph.dense(head.answerable, x))
