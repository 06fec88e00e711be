"""Runs a Hugging Face model in PyTorch, ONNX Runtime or OpenVINO.

Each is used at its best, as its documentation recommends: PyTorch with weights
of bfloat16, or dynamic quantisation of its linear layers; ONNX Runtime on the
ONNX file that PyTorch exports, dynamically quantised, and "+" with its
optimiser for transformers before that; OpenVINO on the same file, with its
precision hint, or quantised by NNCF, calibrated on the texts. For many texts
the quicker of OpenVINO's latency and throughput modes is used. The fast
tokenizer pads each batch to its longest row.

Settings: model (a Hugging Face directory), texts (a .json list), batch_size,
engine ("torch", "onnxruntime", "onnxruntime+", "openvino"), precision
("float32", "bf16", "int8"), max_seq_length, spinning (whether waiting threads
of ONNX Runtime spin), cores.
Requests: {"do": "batches"}: all texts once, in their order; replies with
`milliseconds` of each call where calls do not overlap. {"do": "file"}: the
same in the order of their lengths. {"do": "one", "text": ..., "calls": n}:
`milliseconds` of each call with the one text. {"do": "answers"}: probabilities
of all texts.
"""

import json
import pathlib
import tempfile
import time

import numpy as np
from serve import serve

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_CALIBRATED = 300  # texts


class Engine:
    """Computes logits from arrays.

    Attributes:
      version: name and version of the engine, with its settings.
    """

    def __init__(self, run, version):
        self.one = self.run = run
        self.version = version

    def many(self, feeds):
        """Returns logits and milliseconds of each, one call after another."""
        found, milliseconds = [], []
        for started, arrays in feeds:
            found.append(self.run(arrays))
            milliseconds.append(1e3 * (time.perf_counter() - started))
        return found, milliseconds


def on_torch(model, settings):
    """Returns an engine that runs the model in PyTorch."""
    import torch

    precision = settings["precision"]
    version = f"torch {torch.__version__}"
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    elif precision == "int8":
        model = torch.ao.quantization.quantize_dynamic(
            model, {torch.nn.Linear}, dtype=torch.qint8
        )
        version += ", dynamic quantisation"

    def run(arrays):
        with torch.inference_mode():
            tensors = {k: torch.from_numpy(v) for k, v in arrays.items()}
            return model(**tensors).logits.float().numpy()

    return Engine(run, version)


def exported(model, folder):
    """Exports the model to an ONNX file; returns its path."""
    import torch

    path = str(pathlib.Path(folder) / "model.onnx")
    example = torch.ones([2, 8], dtype=torch.int64)
    model.config.return_dict = False
    # The older exporter: the optimiser recognises what it writes.
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
    return path


def on_onnxruntime(model, settings):
    """Returns an engine that runs the model in ONNX Runtime."""
    import onnxruntime

    version = f"onnxruntime {onnxruntime.__version__}"
    with tempfile.TemporaryDirectory() as folder:
        path = exported(model, folder)
        if settings["engine"].endswith("+"):
            from onnxruntime.transformers import optimizer

            optimised = optimizer.optimize_model(
                path,
                model_type="bert",
                num_heads=model.config.num_attention_heads,
                hidden_size=model.config.hidden_size,
                opt_level=1,
            )
            fused = sum(optimised.get_fused_operator_statistics().values())
            optimised.save_model_to_file(path)
            version += f" with its transformer optimiser ({fused} fusions)"
        if settings["precision"] == "int8":
            import onnx
            from onnxruntime import quantization

            quantised = str(pathlib.Path(folder) / "int8.onnx")
            quantization.quantize_dynamic(
                path,
                quantised,
                weight_type=quantization.QuantType.QInt8,
                # It cannot infer the type of what fused operations return.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
            path = quantised
            version += ", dynamic quantisation"
        options = onnxruntime.SessionOptions()
        # By default it counts the machine's cores, not those it may use.
        options.intra_op_num_threads = settings["cores"] or 0
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", str(int(settings["spinning"]))
        )
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    return Engine(lambda arrays: session.run(["logits"], arrays)[0], version)


class OpenVino(Engine):
    """Compiles two models: for one call, and for many side by side."""

    def __init__(self, model, settings, calibration):
        import openvino

        core = openvino.Core()
        with tempfile.TemporaryDirectory() as folder:
            # Memory-mapped, it would need the file, which is deleted.
            core.set_property({"ENABLE_MMAP": False})
            network = core.read_model(exported(model, folder))
        version = f"openvino {openvino.__version__.partition('-')[0]}"
        precision = settings["precision"]
        if precision == "int8":
            import nncf

            network = nncf.quantize(
                network,
                nncf.Dataset(calibration),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(calibration),
            )
            version += f", nncf {nncf.__version__}"
        options = {}
        if precision != "int8":  # for int8 its own default is best
            options["INFERENCE_PRECISION_HINT"] = {"float32": "f32"}.get(
                precision, "bf16"
            )
        if settings["cores"]:
            options["INFERENCE_NUM_THREADS"] = settings["cores"]
        one, self._many = (
            core.compile_model(
                network, "CPU", options | {"PERFORMANCE_HINT": hint}
            )
            for hint in ("LATENCY", "THROUGHPUT")
        )
        request = one.create_infer_request()
        self._queue = openvino.AsyncInferQueue(self._many)
        self._side_by_side = False
        super().__init__(lambda arrays: request.infer(arrays)[0], version)

    def choose(self, feeds):
        """Chooses the quicker mode for many calls; feeds() yields them."""
        spent = {}
        for mode in (False, True):
            self._side_by_side = mode
            self.many(feeds())
            started = time.perf_counter()
            self.many(feeds())
            spent[mode] = time.perf_counter() - started
        self._side_by_side = spent[True] < spent[False]
        mode = "throughput" if self._side_by_side else "latency"
        self.version += f", {mode} mode"

    def many(self, feeds):
        """See `Engine.many`; overlapping calls have no milliseconds."""
        if not self._side_by_side:
            return super().many(feeds)
        found = {}

        def keep(request, number):
            found[number] = request.get_output_tensor().data.copy()

        self._queue.set_callback(keep)
        for number, (_, arrays) in enumerate(feeds):
            self._queue.start_async(arrays, number)
        self._queue.wait_all()
        return [found[number] for number in sorted(found)], []


def prepare(settings):
    """Loads the model and an engine; returns facts and the handler."""
    import transformers

    transformers.logging.set_verbosity_error()
    with open(settings["texts"], encoding="utf-8") as handle:
        texts = json.load(handle)
    size = settings["batch_size"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        settings["model"]
    ).backend_tokenizer
    tokenizer.enable_truncation(settings["max_seq_length"])
    tokenizer.enable_padding()

    def arrays_of(batch):
        rows = tokenizer.encode_batch_fast(batch)
        columns = ("ids", "attention_mask", "type_ids")
        return {
            name: np.array([getattr(row, column) for row in rows], np.int64)
            for name, column in zip(_INPUTS, columns)
        }

    def feeds(texts):
        """Yields the start time of each batch, and its arrays."""
        for i in range(0, len(texts), size):
            yield time.perf_counter(), arrays_of(texts[i : i + size])

    name = settings["engine"]
    model = transformers.ElectraForSequenceClassification.from_pretrained(
        settings["model"],
        # The optimiser recognises only the export of "eager" attention.
        attn_implementation="sdpa" if name == "torch" else "eager",
    ).eval()
    if name == "openvino":
        engine = OpenVino(
            model, settings, [arrays_of([t]) for t in texts[:_CALIBRATED]]
        )
        engine.choose(lambda: feeds(texts))
    elif name == "torch":
        engine = on_torch(model, settings)
    else:
        engine = on_onnxruntime(model, settings)
    by_length = sorted(texts, key=len)
    engine.many(feeds(texts[: 4 * size]))

    def probabilities(logits):
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def one(request):
        for _ in range(request["calls"]):
            started = time.perf_counter()
            probabilities(engine.one(arrays_of([request["text"]])))
            yield 1e3 * (time.perf_counter() - started)

    def handle_request(request):
        if request["do"] == "one":
            return {"milliseconds": list(one(request))}
        chosen = by_length if request["do"] == "file" else texts
        logits, milliseconds = engine.many(feeds(chosen))
        found = [probabilities(batch) for batch in logits]
        if request["do"] == "answers":
            return {"answers": [row.tolist() for b in found for row in b]}
        return {"milliseconds": milliseconds} if milliseconds else {}

    version = f"{engine.version}, transformers {transformers.__version__}"
    return {"version": version}, handle_request


if __name__ == "__main__":
    serve(prepare)
