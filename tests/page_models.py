"""Stand-ins for models, to test the server's page without a network.

For each kind of model there are a server's description and its answers, in the
formats of the exports. Answers depend on the texts alone.
"""

import json
import mimetypes
import pathlib
import re
import zlib

PAGE = pathlib.Path(__file__).parent.parent / "electra_tf/serving/page"
ADDRESS = "http://page.test"
WORD = re.compile(r"[\u4e00-\u9fff]|[^\W_]+|[^\w\s]", re.UNICODE)
SENTENCE = re.compile(r"[^\s.!?。][^.!?。]*[.!?。]*")
READ = 40  # tokens of a text that the model reads
LABELS = {
    "classification": ["negative", "neutral", "positive"],
    "pairs": ["entailment", "neutral", "contradiction"],
    "many": [f"intent_{i:03}_{'of_a_bank_account' * (i % 3)}"
             for i in range(200)],
    "multilabel": ["admiration", "anger", "joy", "surprise"],
    "tagging": ["O", *(f"{at}-{kind}" for kind in
                       ("PER", "LOC", "ORG", "MISC", "DATE", "LAW", "EVENT",
                        "PRODUCT", "WORK_OF_ART") for at in "BI")],
}  # fmt: skip
KINDS = (
    "classification", "many", "pairs", "multilabel", "regression", "ranking",
    "tagging", "qa", "seq2seq", "summarization", "discriminator", "generator",
    "embeddings", "plain",
)  # fmt: skip
_TASKS = {"many": "classification", "pairs": "classification",
          "embeddings": "classification"}  # fmt: skip
_INPUTS = {
    "pairs": ("text", "text_pair"), "ranking": ("query", "passage"),
    "qa": ("question", "context"),
}  # fmt: skip
TEXTS = {
    "en": "A warm, funny film with a wonderful cast in Berlin.",
    "zh": "马云在杭州创办了阿里巴巴集团。",
    "ar": "ذهب الولد إلى المدرسة في القاهرة صباح اليوم.",
    "word": "Donaudampfschifffahrtsgesellschaftskapitän" * 12,
    "long": "The old man and his dog walked slowly along the river. " * 40,
    "emoji": "😀 the cat's “mat” & <b>no markup</b> 👩‍👩‍👧",
    "lines": "first line\n\n\tsecond line\r\nthird",
}


def inputs_of(kind):
    return _INPUTS.get(kind, ("text",))


def described(kind, language="en", version="3"):
    """Returns a model's entry in the server's list."""
    if kind == "plain":
        return {"name": kind, "version": version, "description": None}
    names = inputs_of(kind)
    cut = {"qa": names[:1], "tagging": (), "summarization": ()}.get(kind, names)
    signatures = {
        "serving_default": names, "embed": ("text",), "truncation": cut,
    }  # fmt: skip
    if kind == "embeddings":
        del signatures["serving_default"]
    signatures = {
        name: {
            "inputs": {n: {"dtype": "string", "shape": [None]} for n in taken},
            "outputs": {},
        }
        for name, taken in signatures.items()
        if taken
    }
    example = {name: TEXTS[language] for name in names}
    return {
        "name": kind,
        "version": version,
        "description": {
            "task": _TASKS.get(kind, kind),
            "task_name": f"{kind}/toy",
            "labels": LABELS.get(kind),
            "pair": len(names) == 2,
            "language": language if language in ("en", "zh") else None,
            "max_seq_length": READ + 2,
            "score_mean": 2.5,
            "score_spread": 1.25,
            "signatures": signatures,
            "examples": [
                example,
                {name: text + " (2)" for name, text in example.items()},
            ],
        },
    }


def _figure(*parts):
    """Returns a number from 0 to 1, pseudo-random but always the same."""
    return zlib.crc32("\0".join(map(str, parts)).encode()) / 2**32


def _pieces(text):
    return [(m.start(), m.end()) for m in WORD.finditer(text)]


def answer(kind, rows, signature=None):
    """Returns the `predictions` for the rows of a request."""
    if signature == "truncation":
        return [_truncation(row) for row in rows]
    if kind == "plain":
        return rows
    return (
        [_ANSWERS[_TASKS.get(kind, kind)](kind, row) for row in rows]
        if (signature is None)
        else [[_figure(row, i) - 0.4 for i in range(8)] for row in rows]
    )


def _truncation(row):
    found = {}
    for name, text in row.items():
        pieces = _pieces(text)
        read = pieces[:READ]
        end = read[-1][1] if len(pieces) > READ else len(text)
        found |= {
            f"{name}_tokens": len(pieces),
            f"{name}_tokens_read": len(read),
            f"{name}_chars_read": end,
        }
    return found


def _classification(kind, row):
    labels = LABELS[kind]
    shares = [_figure(row, label) ** 6 for label in labels]
    shares = [share / sum(shares) for share in shares]
    best = labels[shares.index(max(shares))]
    return {"labels": labels, "probabilities": shares, "label": best}


def _multilabel(kind, row):
    shares = [_figure(row, label) for label in LABELS[kind]]
    return {"labels": LABELS[kind], "probabilities": shares,
            "selected": [share > 0.5 for share in shares]}  # fmt: skip


def _places(pieces, width):
    pad = [-1] * (width - len(pieces))
    return {"start_chars": [a for a, _ in pieces] + pad,
            "end_chars": [b for _, b in pieces] + pad,
            "num_tokens": len(pieces)}  # fmt: skip


def _tagging(kind, row):
    pieces = _pieces(row)
    tags = []
    for a, b in pieces:
        i = int(_figure(row[a:b]) * 2 * len(LABELS[kind]))
        tags.append(LABELS[kind][i] if i < len(LABELS[kind]) else "O")
    return {"tags": tags, "probabilities": [0.9] * len(tags),
            **_places(pieces, len(pieces))}  # fmt: skip


def _qa(kind, row):
    pieces = _pieces(row["context"])
    if not pieces or "nothing" in row["question"]:
        return {"answer": "", "start": -1, "end": -1, "score": 0.1,
                "no_answer": 3.25}  # fmt: skip
    start, end = pieces[len(pieces) // 2][0], pieces[-1][1]
    return {"answer": row["context"][start:end], "start": start, "end": end,
            "score": 0.8312, "no_answer": -2.5}  # fmt: skip


def _seq2seq(kind, row):
    texts = [row[::-1], row.upper(), row[: len(row) // 2]]
    return {"text": texts[0], "score": -0.512, "n_best_texts": texts,
            "n_best_scores": [-0.512, -1.25, -2.0]}  # fmt: skip


def _summarization(kind, row):
    """Selects the first sentence, and the third if there is one."""
    spans = [(m.start(), m.end()) for m in SENTENCE.finditer(row)][:3:2]
    sentences = [row[a:b] for a, b in spans]
    return {"summary": " ".join(sentences), "sentences": [*sentences, ""],
            "scores": [*(_figure(s) for s in sentences), 0.0],
            "start_chars": [*(a for a, _ in spans), -1],
            "end_chars": [*(b for _, b in spans), -1],
            "num_sentences": len(spans)}  # fmt: skip


def _discriminator(kind, row):
    pieces = _pieces(row)[:READ]
    return {**_places(pieces, READ), "replaced_probability": [
        _figure(row[a:b]) ** 2 for a, b in pieces]}  # fmt: skip


def _generator(kind, row):
    words = ["mat", "##s", "中", "a", "b" * 30]
    masks = min(row.count("[MASK]"), READ)
    shares = [[0.5, 0.2, 0.1, 0.05, 0.0001]] * masks
    return {"tokens": [words] * masks, "num_masks": masks,
            "probabilities": shares}  # fmt: skip


_ANSWERS = {
    "classification": _classification,
    "multilabel": _multilabel,
    "regression": lambda kind, row: 5 * _figure(row),
    "ranking": lambda kind, row: 8 * _figure(*row.values()) - 4,
    "tagging": _tagging,
    "qa": _qa,
    "seq2seq": _seq2seq,
    "summarization": _summarization,
    "discriminator": _discriminator,
    "generator": _generator,
}


class Site:
    """Serves the page and its requests in a browser's context, with no socket.

    Attributes:
      models: the models that the server lists.
      failing: (status, body) of the response to each prediction; None to
        answer it.
      gone: whether the server is unreachable.
      requests: paths of the predictions so far.
    """

    def __init__(self, context, *kinds, language="en"):
        self.models = [described(kind, language) for kind in kinds]
        self.failing = None
        self.gone = False
        self.requests = []
        context.route(f"{ADDRESS}/**", self._serve)

    def _serve(self, route):
        path = route.request.url.removeprefix(ADDRESS).partition("#")[0]
        if self.gone:
            return route.abort()
        if path == "/v1/models":
            return _json(route, 200, {"models": self.models})
        if path.startswith("/v1/models/"):
            self.requests.append(path)
            if self.failing:
                return _json(route, *self.failing)
            kind = re.split("[/:]", path.removeprefix("/v1/models/"))[0]
            body = json.loads(route.request.post_data)
            found = answer(kind, body["instances"], body.get("signature_name"))
            return _json(route, 200, {"predictions": found})
        file = PAGE / (path.removeprefix("/static/").strip("/") or "index.html")
        kind = mimetypes.guess_type(file.name)[0] or "text/plain"
        return route.fulfill(body=file.read_bytes(), content_type=kind)


def _json(route, status, body):
    if isinstance(body, str):
        return route.fulfill(status=status, body=body)
    return route.fulfill(status=status, json=body)


def fill(page, kind, text):
    """Puts the same text into every field of a kind's form."""
    if kind == "generator" and "[MASK]" not in text:
        text = f"{text} [MASK]."
    if kind == "plain":
        text = json.dumps([text])
    for area in page.locator("#fields textarea").all():
        area.fill(text)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#answer[aria-busy=false] #summary:not(:empty)")
