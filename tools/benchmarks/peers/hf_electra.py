"""Hugging Face `transformers`: ELECTRA's classes and tokenizers.

Settings: none.
Requests: {"do": "make", class, config, directory, store, inputs, outputs} saves
a random model and what it computes; {"do": "load", class, directory, inputs,
outputs} loads one; {"do": "tokenize", directory, texts} gives the ids of the
fast and of the slow tokenizer; {"do": "save_tokenizer", source, directory}.
"""

from serve import serve


def prepare(settings):
    import numpy as np
    import torch
    import transformers

    transformers.logging.set_verbosity_error()

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
        with torch.no_grad():
            for parameter in model.parameters():
                # So that no bias is 0 and no scale 1.
                parameter += 0.02 * torch.randn_like(parameter)
        store = request["store"]
        size = sum(p.numel() * 4 for p in model.parameters())
        model.save_pretrained(
            request["directory"],
            safe_serialization="bin" not in store,
            max_shard_size=size // 3 if "sharded" in store else 10 * size,
        )
        compute(model, request)
        return {}

    def load(request):
        model, told = getattr(transformers, request["class"]).from_pretrained(
            request["directory"], output_loading_info=True
        )
        compute(model, request)
        return {key: list(map(str, value)) for key, value in told.items()}

    def tokenize(request):
        ids = {}
        for name, fast in (("fast", True), ("slow", False)):
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

    def save_tokenizer(request):
        transformers.ElectraTokenizerFast(
            vocab_file=request["source"], do_lower_case=request["lower_case"]
        ).save_pretrained(request["directory"])
        return {}

    handlers = {
        "make": make,
        "load": load,
        "tokenize": tokenize,
        "save_tokenizer": save_tokenizer,
    }
    version = f"transformers {transformers.__version__}"
    return {"version": version}, lambda r: handlers[r["do"]](r)


if __name__ == "__main__":
    serve(prepare)
