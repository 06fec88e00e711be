"""Checks what the page shows of an answer, for each kind of model."""

import json
import re
import urllib.request


def answered(page):
    """Waits for an answer; returns its headline."""
    page.wait_for_selector("#answer[aria-busy=false] #summary:not(:empty)")
    return page.inner_text("#summary")


def ask_again(page):
    """Sends the request of the shown command; returns the predictions."""
    request = page.inner_text("#request pre >> nth=0")
    body = re.search(r"-d '(.*)'$", request, re.DOTALL).group(1)
    url = re.search(r"'(http[^']*)'", request).group(1)
    asked = urllib.request.Request(
        url,
        body.replace("'\\''", "'").encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as response:
        return json.load(response)["predictions"]


def bar_names(page):
    return page.locator("#body .bars li .name bdi").all_text_contents()


def check_discriminator(page, rows, texts):
    marked = page.text_content("#body .marked")
    assert marked == texts[0]
    (row,) = rows
    spans = list(zip(row["start_chars"], row["end_chars"]))
    pieces = [texts[0][a:b] for a, b in spans[: row["num_tokens"]]]
    shown = page.locator("#body .shaded").all_text_contents()
    assert "".join(shown) == "".join(pieces) and shown
    assert bar_names(page)


def check_generator(page, rows, texts):
    (row,) = rows
    first = [guesses[0] for guesses in row["tokens"][: row["num_masks"]]]
    shown = page.locator("#body .filled .mark").all_text_contents()
    assert shown == [token.removeprefix("##") for token in first]
    assert page.locator("#body .guess").count() == 5 * len(first)


def check_classification(page, rows, texts):
    (row,) = rows
    order = sorted(
        zip(row["labels"], row["probabilities"]), key=lambda pair: -pair[1]
    )
    assert bar_names(page) == [label for label, _ in order]
    assert answered(page).startswith(row["label"] + ", ")


def check_multilabel(page, rows, texts):
    (row,) = rows
    assert sorted(bar_names(page)) == sorted(row["labels"])
    fits = [n for n, yes in zip(row["labels"], row["selected"]) if yes]
    strong = page.locator("#body .strong .name bdi").all_inner_texts()
    assert sorted(strong) == sorted(fits)


def check_regression(page, rows, texts):
    (score,) = rows
    assert answered(page) == f"Score {score:.3f}".replace("-", "\u2212")


def check_ranking(page, rows, texts):
    order = sorted(range(len(rows)), key=lambda i: -rows[i])
    assert bar_names(page) == [texts[1 + i] for i in order]


def check_tagging(page, rows, texts):
    (row,) = rows
    pieces = page.locator("#body .entity").evaluate_all(
        "marks => marks.map(mark => [mark.firstChild.data, mark.dataset.type])"
    )
    whole = page.eval_on_selector(
        "#body .marked",
        "node => { const copy = node.cloneNode(true);"
        " copy.querySelectorAll('.type').forEach(type => type.remove());"
        " return copy.textContent; }",
    )
    assert whole == texts[0]
    tags = row["tags"][: row["num_tokens"]]
    starts = [
        (texts[0][row["start_chars"][i] :], tag[2:])
        for i, tag in enumerate(tags)
        if tag.startswith("B-")
    ]
    assert len(pieces) >= len(starts)
    assert {kind for _, kind in pieces} == {
        tag[2:] for tag in tags if tag != "O"
    }
    for rest, kind in starts:
        assert any(rest.startswith(p) and k == kind for p, k in pieces)
    assert page.locator(".legend .key").count() == len({k for _, k in pieces})


def check_qa(page, rows, texts):
    (row,) = rows
    assert page.text_content("#body .marked") == texts[1]
    shown = page.locator("#body .answer").all_text_contents()
    if row["start"] < 0:
        assert shown == []
    else:
        assert shown == [texts[1][row["start"] : row["end"]]]
        assert shown == [row["answer"]]


def check_seq2seq(page, rows, texts):
    (row,) = rows
    shown = page.text_content("#summary")
    assert shown == (row["text"] or "Nothing was written")
    score = f"{row['score']:.3f}".replace("-", "\u2212")
    note = page.inner_text("#body .note")
    assert note.startswith(f"Log-likelihood {score}, ")


def check_summarization(page, rows, texts):
    (row,) = rows
    assert page.text_content("#summary") == row["summary"]
    marks = page.locator("#body .mark").evaluate_all(
        "marks => marks.map(mark => mark.firstChild.data)"
    )
    count = row["num_sentences"]
    spans = zip(row["start_chars"], row["end_chars"])
    assert marks == [texts[0][a:b] for a, b in list(spans)[:count]]
    assert marks == row["sentences"][:count] and marks
    shown = page.locator("#body .mark .type").all_text_contents()
    assert shown == [f"{100 * s:.1f} %" for s in row["scores"][:count]]


CHECKS = {
    "discriminator": check_discriminator, "generator": check_generator,
    "classification": check_classification, "pairs": check_classification,
    "multilabel": check_multilabel, "regression": check_regression,
    "ranking": check_ranking, "tagging": check_tagging, "qa": check_qa,
    "seq2seq": check_seq2seq, "summarization": check_summarization,
}  # fmt: skip


def check_answer(page, kind):
    texts = [a.input_value() for a in page.locator("#fields textarea").all()]
    CHECKS[kind](page, ask_again(page), texts)
