"""Runs ELECTRA's classes and tokenizers of `transformers` 4 or 5.

Settings: none.
Requests: {"do": "make", class, config, directory, store, inputs, outputs} saves
a random model and its outputs; {"do": "load", class, directory, inputs,
outputs} loads one; {"do": "tokenize", directory, texts} returns the ids of the
fast and, where there is one, of the slow tokenizer; {"do": "save_tokenizer",
source, directory}; {"do": "classify", directory, texts} returns the pipeline's
predictions; {"do": "score", directory, pairs} and {"do": "save_scorer", source,
directory, activation} use sentence-transformers' CrossEncoder, {"do":
"embed", directory, texts} its SentenceTransformer.
"""

import json
import pathlib

from serve import serve


def prepare(settings):
    """Imports `transformers`; returns facts and the handler."""
    import numpy as np
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    before_5 = int(transformers.__version__.partition(".")[0]) < 5

    def compute(model, request):
        inputs = np.load(request["inputs"])
        with torch.no_grad():
            outputs = model.eval()(
                torch.tensor(inputs["input_ids"], dtype=torch.long),
                attention_mask=torch.tensor(inputs["input_mask"]),
                token_type_ids=torch.tensor(
                    inputs["segment_ids"], dtype=torch.long
                ),
            )
        arrays = {key: value.numpy() for key, value in outputs.items()}
        np.savez(request["outputs"], **arrays)

    def make(request):
        torch.manual_seed(request.get("seed", 0))
        config = transformers.ElectraConfig(**request["config"])
        model = getattr(transformers, request["class"])(config)
        store = request["store"]
        with torch.no_grad():
            for parameter in model.parameters():
                # Otherwise biases are 0 and scales 1, which hides mistakes.
                parameter += 0.02 * torch.randn_like(parameter)
        kind = getattr(torch, store, None)
        if kind is not None:  # a dtype of 16 bits
            model = model.to(kind)
        size = sum(p.numel() * 4 for p in model.parameters())
        model.save_pretrained(
            request["directory"],
            max_shard_size=size // 3 if "sharded" in store else 10 * size,
        )
        if "bin" in store:
            pickle(request["directory"])
        compute(model.float(), request)
        return {}

    def pickle(directory):
        """Rewrites it as state dicts in .bin files, as before version 5."""
        from safetensors.torch import load_file

        for path in sorted(pathlib.Path(directory).glob("model*")):
            name = path.name.replace("model", "pytorch_model", 1)
            name = name.replace("safetensors", "bin")
            if path.suffix == ".safetensors":
                torch.save(load_file(path), path.with_name(name))
            else:
                text = path.read_text().replace("model-", "pytorch_model-")
                text = text.replace(".safetensors", ".bin")
                path.with_name(name).write_text(text)
            path.unlink()

    def load(request):
        model, info = getattr(transformers, request["class"]).from_pretrained(
            request["directory"], output_loading_info=True
        )
        compute(model, request)
        return {key: list(map(str, value)) for key, value in info.items()}

    def tokenize(request):
        ids = {}
        for name, fast in (("fast", True), ("slow", False)):
            if not fast and not has_slow(request["directory"]):
                continue
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                request["directory"], use_fast=fast
            )
            ids[name] = [
                tokenizer(text, add_special_tokens=False)["input_ids"]
                for text in request["texts"]
            ]
            ids[f"{name}_class"] = type(tokenizer).__name__
            ids[f"{name}_pair"] = dict(tokenizer("a b", "c"))
        return ids

    def has_slow(directory):
        with open(f"{directory}/tokenizer_config.json", encoding="utf-8") as f:
            name = json.load(f)["tokenizer_class"].removesuffix("Fast")
        return before_5 and name != "PreTrainedTokenizer"

    def save_tokenizer(request):
        name = "vocab_file" if before_5 else "vocab"
        transformers.ElectraTokenizerFast(
            **{name: request["source"]}, do_lower_case=request["lower_case"]
        ).save_pretrained(request["directory"])
        return {}

    def classify(request):
        pipeline = transformers.pipeline(
            "text-classification", model=request["directory"], top_k=None
        )
        return {"answers": pipeline(request["texts"])}

    def score(request):
        import sentence_transformers

        model = sentence_transformers.CrossEncoder(request["directory"])
        scores = model.predict([tuple(p) for p in request["pairs"]])
        return {"scores": scores.tolist()}

    def save_scorer(request):
        import sentence_transformers

        activation = getattr(torch.nn, request["activation"])()
        model = sentence_transformers.CrossEncoder(
            request["source"], activation_fn=activation
        )
        model.save_pretrained(request["directory"])
        return {}

    def embed(request):
        import sentence_transformers

        model = sentence_transformers.SentenceTransformer(request["directory"])
        return {"vectors": model.encode(request["texts"]).tolist()}

    handlers = {
        "make": make,
        "load": load,
        "tokenize": tokenize,
        "save_tokenizer": save_tokenizer,
        "classify": classify,
        "score": score,
        "save_scorer": save_scorer,
        "embed": embed,
    }
    version = f"transformers {transformers.__version__}"
    return {"version": version}, lambda r: handlers[r["do"]](r)


if __name__ == "__main__":
    serve(prepare)
