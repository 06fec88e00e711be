"""A tiny BERT in NumPy, to compare with; it uses no code of the package.

It has random weights under Hugging Face's names, and computes their outputs.
"""

import json
import math

import numpy as np

from electra_tf import tensors

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "中", "c")
SIZES = {
    "vocab_size": len(TOKENS), "hidden_size": 8, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 12,
    "max_position_embeddings": 7, "type_vocab_size": 2,
}  # fmt: skip
CONFIG = {
    "hidden_act": "gelu", "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02,
    "position_embedding_type": "absolute", "model_type": "bert",
}  # fmt: skip
IDS = np.array([[2, 5, 6, 3, 7, 8, 3], [2, 8, 4, 3, 0, 0, 0]], np.int32)
MASK = (IDS > 0).astype(np.int32)
SEGMENTS = np.array([[0, 0, 0, 0, 1, 1, 1], [0] * 7], np.int32)


def arrays(*heads, labels=3, seed=0, sizes=SIZES, scale=0.4):
    """Returns random weights of an encoder with a pooler, and of heads.

    Args:
      *heads: any of "masked_lm", "next_sentence", "classifier", "answers".
      labels: number of the classifier's labels.
      seed: seed of the random weights.
      sizes: sizes of the network, as in its config.
      scale: standard deviation of the weights.
    """
    rng = np.random.default_rng(seed)
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    made = {}

    def linear(name, rows, columns):
        made[f"{name}.weight"] = (rows, columns)
        made[f"{name}.bias"] = (rows,)

    def norm(name):
        made[f"{name}.weight"] = made[f"{name}.bias"] = (hidden,)

    for table, rows in (
        ("word", sizes["vocab_size"]),
        ("position", sizes["max_position_embeddings"]),
        ("token_type", sizes["type_vocab_size"]),
    ):
        made[f"bert.embeddings.{table}_embeddings.weight"] = (rows, hidden)
    norm("bert.embeddings.LayerNorm")
    for i in range(sizes["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", hidden, hidden)
        linear(f"{layer}.attention.output.dense", hidden, hidden)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", inner, hidden)
        linear(f"{layer}.output.dense", hidden, inner)
        norm(f"{layer}.output.LayerNorm")
    linear("bert.pooler.dense", hidden, hidden)
    if "masked_lm" in heads:
        linear("cls.predictions.transform.dense", hidden, hidden)
        norm("cls.predictions.transform.LayerNorm")
        made["cls.predictions.bias"] = (sizes["vocab_size"],)
    if "next_sentence" in heads:
        linear("cls.seq_relationship", 2, hidden)
    if "classifier" in heads:
        linear("classifier", labels, hidden)
    if "answers" in heads:
        linear("qa_outputs", 2, hidden)
    return {
        name: rng.normal(0, scale, shape).astype(np.float32)
        for name, shape in made.items()
    }


def save(path, weights, cls, tokens=TOKENS, **config):
    """Writes a model directory of class `cls`; `config` overrides CONFIG."""
    path.mkdir(exist_ok=True, parents=True)
    tensors.save(str(path / "model.safetensors"), weights, {"format": "pt"})
    content = {**SIZES, **CONFIG, "architectures": [cls], **config}
    content = {k: v for k, v in content.items() if v is not None}
    (path / "config.json").write_text(json.dumps(content))
    (path / "vocab.txt").write_text("\n".join(tokens) + "\n")


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def _norm(x, weights, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _attended(x, weights, layer):
    batch, length, hidden = x.shape
    heads = SIZES["num_attention_heads"]

    def split(part):
        y = _linear(x, weights, f"{layer}.attention.self.{part}")
        return y.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)

    query, key, value = map(split, ("query", "key", "value"))
    scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(hidden // heads)
    scores = scores - 1e9 * (1 - MASK)[:, None, None, :]
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares = shares / shares.sum(-1, keepdims=True)
    return (shares @ value).transpose(0, 2, 1, 3).reshape(x.shape)


def hidden_states(weights):
    """Returns the outputs for IDS, MASK and SEGMENTS: [2, 7, hidden]."""
    tables = "bert.embeddings.{}_embeddings.weight"
    x = weights[tables.format("word")][IDS]
    x = x + weights[tables.format("token_type")][SEGMENTS]
    x = x + weights[tables.format("position")][: IDS.shape[1]]
    x = _norm(x, weights, "bert.embeddings.LayerNorm")
    for i in range(SIZES["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{i}"
        y = _attended(x, weights, layer)
        y = _linear(y, weights, f"{layer}.attention.output.dense")
        x = _norm(x + y, weights, f"{layer}.attention.output.LayerNorm")
        y = gelu(_linear(x, weights, f"{layer}.intermediate.dense"))
        y = _linear(y, weights, f"{layer}.output.dense")
        x = _norm(x + y, weights, f"{layer}.output.LayerNorm")
    return x


def masked_lm(weights, table=None):
    """Returns [2, 7, vocabulary] logits.

    The output layer is `table`, or the encoder's token embeddings if None.
    """
    head = "cls.predictions.transform"
    x = gelu(_linear(hidden_states(weights), weights, f"{head}.dense"))
    x = _norm(x, weights, f"{head}.LayerNorm")
    if table is None:
        table = weights["bert.embeddings.word_embeddings.weight"]
    return x @ table.T + weights["cls.predictions.bias"]


def classified(weights):
    """Returns [2, labels] logits of sequence classification."""
    first = hidden_states(weights)[:, 0]
    pooled = np.tanh(_linear(first, weights, "bert.pooler.dense"))
    return _linear(pooled, weights, "classifier")


def of_tokens(weights, name="classifier"):
    """Returns [2, 7, labels] logits of token classification or of answers."""
    return _linear(hidden_states(weights), weights, name)


def tf1(weights):
    """Returns the weights under the names of the original BERT in TF1."""
    renamed = {}
    for name, array in weights.items():
        name = name.replace(".", "/").replace("/layer/", "/layer_")
        leaf = name.rpartition("/")[2]
        if "LayerNorm" in name:
            name = name.replace("weight", "gamma").replace("bias", "beta")
        elif name == "cls/predictions/bias":
            name = "cls/predictions/output_bias"
        elif name.startswith("cls/seq_relationship"):
            leaf = "output_bias" if leaf == "bias" else "output_weights"
            name = f"cls/seq_relationship/{leaf}"
        elif name.endswith("embeddings/weight"):
            name = name.removesuffix("/weight")
        elif leaf == "weight":
            name, array = name.removesuffix("weight") + "kernel", array.T
        renamed[name] = np.ascontiguousarray(array)
    return renamed
