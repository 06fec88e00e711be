"""Texts through a Hugging Face model, on PyTorch or ONNX Runtime.

The fast tokenizer of `transformers` pads each batch to its longest row.
For ONNX Runtime the same weights are exported by PyTorch; "onnxruntime+"
has its optimiser for transformers fuse what it knows.

Settings: model (a Hugging Face directory), texts (a .json list), batch_size,
engine ("torch", "onnxruntime", "onnxruntime+"), max_seq_length, spinning
(whether ONNX Runtime's threads do, while they wait), cores.
Requests: {"do": "batches"}: all texts once, in their order; replies with
`milliseconds` of each call. {"do": "answers"}: probabilities of all texts.
"""

import json
import pathlib
import tempfile
import time

import numpy as np
from serve import serve

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def on_torch(model):
    """The engine: arrays -> logits; and its version."""
    import torch

    def run(arrays):
        with torch.inference_mode():
            tensors = {k: torch.from_numpy(v) for k, v in arrays.items()}
            return model(**tensors).logits.numpy()

    return run, f"torch {torch.__version__}"


def on_onnxruntime(model, fused, cores, spinning):
    """The same, by ONNX Runtime."""
    import onnxruntime
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "model.onnx")
        example = torch.ones([2, 8], dtype=torch.int64)
        model.config.return_dict = False
        # The older exporter: what it writes, the optimiser knows.
        torch.onnx.export(
            model,
            (example,) * len(_INPUTS),
            path,
            input_names=list(_INPUTS),
            output_names=["logits"],
            dynamic_axes={name: {0: "rows", 1: "length"} for name in _INPUTS},
            opset_version=17,
            dynamo=False,
        )
        if fused:
            from onnxruntime.transformers import optimizer

            optimised = optimizer.optimize_model(
                path,
                model_type="bert",
                num_heads=model.config.num_attention_heads,
                hidden_size=model.config.hidden_size,
                opt_level=1,
            )
            fusions = optimised.get_fused_operator_statistics()
            optimised.save_model_to_file(path)
        options = onnxruntime.SessionOptions()
        # Of itself it counts the machine's cores, not those it may use.
        options.intra_op_num_threads = cores or 0
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", str(int(spinning))
        )
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def run(arrays):
        return session.run(["logits"], arrays)[0]

    version = f"onnxruntime {onnxruntime.__version__}"
    if fused:
        found = ", ".join(f"{n} {k}" for k, n in fusions.items() if n)
        version += f" with its transformer optimiser ({found})"
    return run, version


def prepare(settings):
    import transformers

    transformers.logging.set_verbosity_error()
    with open(settings["texts"], encoding="utf-8") as handle:
        texts = json.load(handle)
    size = settings["batch_size"]
    batches = [texts[i : i + size] for i in range(0, len(texts), size)]
    tokenizer = transformers.ElectraTokenizerFast.from_pretrained(
        settings["model"]
    )
    model = transformers.ElectraForSequenceClassification.from_pretrained(
        settings["model"]
    ).eval()
    engine = settings["engine"]
    if engine == "torch":
        run, version = on_torch(model)
    else:
        run, version = on_onnxruntime(
            model,
            engine.endswith("+"),
            settings["cores"],
            settings["spinning"],
        )

    def call(batch):
        started = time.perf_counter()
        arrays = tokenizer(
            batch,
            padding="longest",
            truncation=True,
            max_length=settings["max_seq_length"],
            return_tensors="np",
        )
        arrays = {name: arrays[name].astype(np.int64) for name in _INPUTS}
        logits = run(arrays)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        found = powers / powers.sum(axis=-1, keepdims=True)
        return found, 1e3 * (time.perf_counter() - started)

    for batch in batches[:4]:
        call(batch)

    def handle_request(request):
        found = [call(batch) for batch in batches]
        if request["do"] == "answers":
            return {"answers": [row.tolist() for f, _ in found for row in f]}
        return {"milliseconds": [ms for _, ms in found]}

    version += f", transformers {transformers.__version__}"
    return {"version": version}, handle_request


if __name__ == "__main__":
    serve(prepare)
