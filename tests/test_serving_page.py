"""Tests of the page in a browser, on the real server, with all kinds."""

import functools
import json
import pathlib
import re
import shutil
import subprocess

import browsers
import pytest
import serving_toy
import tensorflow as tf
from serving_page_checks import answered, bar_names, check_answer

PAGE = pathlib.Path(__file__).parent.parent / "electra_tf/serving/page"
QUICK = ("discriminator", "classification")
KINDS = (
    "generator", "pairs", "multilabel", "regression", "ranking", "tagging",
    "qa", "seq2seq", "summarization",
)  # fmt: skip
kinds = pytest.mark.parametrize(
    "kind",
    [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)],
)
HOSTILE = (
    '<script>window.broken = 1</script> 😀 the cat\'s "mat" & '
    "<img src=x onerror='window.broken = 1'> 中国 </textarea> [MASK]"
)
REQUEST_BYTES = 64 * 1024

# --- the files -------------------------------------------------------------


def test_no_text_becomes_markup_and_nothing_loads_from_other_sites():
    markup = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser"
        r"|srcdoc|\beval\(|new Function|createContextualFragment"
    )
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not markup.search(text), path
        remote = re.sub(r'xmlns="http://www\.w3\.org/2000/svg"', "", text)
        assert not re.search(r"https?://|['\"(]//", remote), path
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! type)", html)


# --- the browser -----------------------------------------------------------


@pytest.fixture(scope="module")
def serve(tmp_path_factory, tiny_tokens):
    """A function that returns the address of a server of given kinds."""
    browsers.need_browser()
    for name in ("starlette", "uvicorn", "prometheus_client"):
        pytest.importorskip(name, reason="needs electra-tf[serving]")
    import check_export_models

    import electra_tf
    from electra_tf.exporting import servable
    from electra_tf.exporting import writer as export
    from electra_tf.serving.server import running
    from electra_tf.serving.server.limits import Limits
    from electra_tf.serving.server.served import Served

    folder = tmp_path_factory.mktemp("page")
    started = {}

    @functools.cache
    def exported(kind):
        output = str(folder / "models" / kind)
        if kind == "plain":  # an export without a description
            shutil.copytree(
                exported("classification"),
                output,
                ignore=shutil.ignore_patterns("electra_tf.json"),
            )
            return output
        saved = check_export_models.save(
            folder / "saved" / kind, kind, tiny_tokens
        )
        if kind in ("discriminator", "generator"):
            model = servable.open_pretrained(saved)
        else:
            model = servable.of_predictor(electra_tf.load(saved))
        names = ["serving_default"]
        if kind == "classification":
            names.append("truncation")
        explain = kind in ("pairs", "regression")
        export.export(model, output, names=names, explain=explain)
        return output

    def serve(*kinds):
        if kinds not in started:
            server = running.ModelServer(
                running.Settings(
                    models={
                        kind: Served(str(exported(kind))) for kind in kinds
                    },
                    port=0,
                    poll_seconds=0,
                    limits=Limits(request_bytes=REQUEST_BYTES),
                )
            )
            started[kinds] = server, running.in_thread(server)
        return started[kinds][0].url

    serve.exported = exported
    yield serve
    for server, _ in started.values():
        server.stop()
    for _, thread in started.values():
        thread.join(30)


@pytest.fixture(scope="module")
def browser(serve):
    with browsers.opened() as found:
        yield found


@pytest.fixture(scope="module")
def errors():
    """Errors and warnings of the browser's console."""
    return []


@pytest.fixture(scope="module")
def shared_page(browser, errors):
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="light"
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: (
            errors.append(message.text)
            if message.type in ("error", "warning")
            else None
        ),
    )
    yield page
    context.close()


@pytest.fixture
def page(shared_page, errors):
    """A page that must cause no errors in the console."""
    errors.clear()
    yield shared_page
    assert errors == []


def visit(page, url, kind):
    """Reloads the page, at a model."""
    page.goto("about:blank")
    page.goto(f"{url}/#model={kind}")
    page.wait_for_selector("#panel:not([hidden])")
    assert page.title().startswith(kind)


def write(page, text):
    """Writes the same text into every field."""
    for area in page.locator("#fields textarea").all():
        area.fill(text)


@kinds
def test_by_click(serve, page, kind):
    visit(page, serve(kind), kind)
    page.locator(".example").first.click()
    answered(page)
    check_answer(page, kind)
    assert re.match(r"[\d.]+ ms ", page.inner_text("#latency"))
    # The button gives the same as the example.
    page.click("#run")
    answered(page)
    check_answer(page, kind)


@kinds
def test_by_keyboard(serve, page, kind):
    """A text is written and run by the keyboard alone."""
    visit(page, serve(kind), kind)
    for _ in range(30):  # skips the examples
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outline")
    assert "solid 2px" in outline or "2px" in outline
    for number in range(page.locator("#fields textarea").count()):
        page.keyboard.insert_text(f"the [MASK] {number} sat.\non the mat")
        for _ in range(2):  # skips a button that removes a passage
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
                break
    page.keyboard.press("Control+Enter")
    answered(page)
    check_answer(page, kind)


@kinds
def test_text_is_shown_as_text(serve, page, kind):
    visit(page, serve(kind), kind)
    scripts = page.locator("script").count()
    write(page, HOSTILE)
    page.keyboard.press("Control+Enter")
    answered(page)
    check_answer(page, kind)
    assert page.locator("script").count() == scripts
    assert page.locator("img").count() == 0
    assert page.evaluate("window.broken") is None


@kinds
def test_on_a_phone(serve, browser, kind):
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme="dark"
    )
    try:
        page = context.new_page()
        visit(page, serve(kind), kind)
        page.locator(".example").first.click()
        answered(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        context.close()


@pytest.mark.slow
def test_a_cut_text_is_marked(serve, page):
    visit(page, serve("classification"), "classification")
    text = "the cat sat on the mat . " * 30
    write(page, text)
    page.keyboard.press("Control+Enter")
    answered(page)
    shown = re.search(r"(\d+) of (\d+) tokens", page.inner_text("#cut"))
    read, tokens = map(int, shown.groups())
    assert tokens == len(text.split())
    reach = re.search(r"first (\d+) tokens", page.inner_text("#facts"))
    assert read == int(reach[1]) < tokens
    # Each word is a token. The text struck out starts at the first unread.
    unread = page.text_content("#cut s").split()[0]
    assert unread == text.split()[read]


def test_marked_text_is_read_with_the_arrow_keys(serve, page):
    visit(page, serve("discriminator"), "discriminator")
    write(page, "😀 the cat")
    page.keyboard.press("Control+Enter")
    answered(page)
    page.focus("#body .marked")
    page.keyboard.press("End")
    assert page.inner_text("#body .reading").startswith("cat: ")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#body .reading").startswith("the: ")
    assert page.text_content("#body .current") == "the"


@pytest.mark.slow
def test_a_guess_is_chosen_and_kept(serve, page):
    visit(page, serve("generator"), "generator")
    write(page, "the sat.")
    page.locator("#fields textarea").focus()
    page.keyboard.press("Control+Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Insert [MASK]").click()
    page.keyboard.insert_text(" ")
    assert page.input_value("#fields textarea") == "the [MASK] sat."
    page.keyboard.press("Control+Enter")
    answered(page)
    page.locator(".guess input").first.focus()
    page.keyboard.press("ArrowDown")
    second = page.locator(".guess .name").nth(1).inner_text()
    assert page.inner_text(".filled .mark") == second.removeprefix("##")
    sentence = page.text_content(".filled")
    page.get_by_role("button", name="Keep this sentence").click()
    assert page.input_value("#fields textarea") == sentence
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#error:not(:empty)")
    assert "[MASK]" in page.inner_text("#error")


@pytest.mark.slow
def test_passages_are_added_and_taken_away(serve, page):
    visit(page, serve("ranking"), "ranking")
    areas = page.locator("#fields .text-list textarea")
    page.locator("#fields textarea").first.fill("the cat")
    for number in range(3):
        if number == 2:
            page.get_by_role("button", name="Add a passage").press("Enter")
        areas.nth(number).fill(f"the cat sat {'on the mat ' * number}")
    page.keyboard.press("Control+Enter")
    answered(page)
    assert len(bar_names(page)) == 3
    page.get_by_role("button", name="Remove passage 2").press("Enter")
    assert areas.count() == 2
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    page.keyboard.press("Control+Enter")
    page.locator("#body .bars li").nth(2).wait_for(state="detached")
    assert len(bar_names(page)) == 2
    # A blank one goes behind the others, so that numbers are those of the form.
    areas.nth(0).fill("")
    page.keyboard.press("Control+Enter")
    page.locator("#body .bars li").nth(1).wait_for(state="detached")
    assert [area.input_value() for area in areas.all()][1:] == [""]
    assert areas.nth(0).input_value().startswith("the cat sat")
    assert page.evaluate("document.activeElement.value") == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs", "regression"])
def test_an_answer_is_explained(serve, page, kind):
    """Tokens show their contributions; another label can be chosen."""
    visit(page, serve(kind), kind)
    write(page, "😀 the cat sat.")
    page.keyboard.press("Control+Enter")
    answered(page)
    page.get_by_role("button", name="Explain").press("Enter")
    hide = page.get_by_role("button", name="Hide explanation")
    hide.wait_for()
    assert hide.get_attribute("aria-expanded") == "true"
    texts = 2 if kind == "pairs" else 1
    marked = page.locator(".explain .marked")
    assert marked.all_text_contents() == ["😀 the cat sat."] * texts
    marks = page.locator(".explain .marked >> nth=0").locator(".adds")
    pieces = marks.all_text_contents()
    assert pieces == ["😀", "the", "cat", "sat", "."]
    marked.last.focus()
    page.keyboard.press("End")
    reading = page.locator(".explain .reading").last
    assert re.fullmatch(
        r"\.: [+\u2212]\d\.\d{3}, (for|against|no part)", reading.inner_text()
    )
    note = page.locator(".explain > div > .note").inner_text()
    assert "complete but for" in note
    rises = [float(n.replace("\u2212", "-"))
             for n in re.findall(r"[+\u2212]\d+\.\d{3}", note)]  # fmt: skip
    assert rises[1] - rises[0] == pytest.approx(rises[2], abs=0.05)
    if kind == "pairs":
        label = page.locator(".explain select")
        chosen = label.input_value()
        assert answered(page).startswith(chosen)
        other = label.locator("option:not([hidden])").all_inner_texts()
        other.remove(chosen)
        label.select_option(other[0])
        page.get_by_text(f"The score of “{other[0]}”").wait_for()
    hide.press("Enter")
    assert marked.count() == 0
    check_answer(page, kind)


@pytest.mark.slow
def test_the_legend_hides_and_shows(serve, page):
    visit(page, serve("tagging"), "tagging")
    write(page, "the cat sat on the mat with her sister , and ran " * 3)
    page.keyboard.press("Control+Enter")
    answered(page)
    key = page.locator(".legend .key").first
    shown = page.locator("#body .entity:not(.off)").count()
    key.press("Enter")
    assert key.get_attribute("aria-pressed") == "false"
    assert page.locator("#body .entity:not(.off)").count() < shown
    key.press("Enter")
    assert page.locator("#body .entity:not(.off)").count() == shown


def add_version(source, target, **changes):
    """Adds a version with changes in its description."""
    hidden = target.parent / f".tmp-{target.name}"
    shutil.copytree(source, hidden)
    path = hidden / "assets.extra/electra_tf.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(about | changes), encoding="utf-8")
    hidden.rename(target)


def test_a_new_version_is_noticed(serve, page, tmp_path):
    source = pathlib.Path(serve.exported("classification"), "1")
    folder = tmp_path / "classification"
    folder.mkdir()

    def come_back(text):
        """Focuses the window until the page shows the new version."""
        page.wait_for_function(
            "text => { dispatchEvent(new Event('focus'));"
            " return document.getElementById('facts').textContent"
            ".startsWith(text); }",
            arg=text,
            polling=200,
        )

    add_version(source, folder / "1")
    with serving_toy.served({"classification": folder}) as server:
        visit(page, server.url, "classification")
        assert page.inner_text("#facts").startswith("version 1 ")
        assert page.inner_text("#news") == ""
        write(page, "the cat")
        page.keyboard.press("Control+Enter")
        headline = answered(page)
        page.locator("#fields textarea").focus()
        new = [{"text": "the dog"}]
        add_version(source, folder / "2", examples=new)
        come_back("version 2 ")
        assert page.inner_text("#news") == (
            "Version 2 is loaded now. Run again for its answer."
        )
        # The text, its answer and the position of the cursor stay.
        assert page.inner_text("#summary") == headline
        assert page.evaluate("document.activeElement.value") == "the cat"
        assert page.locator(".example").all_inner_texts() == ["the dog"]
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#news:empty", state="attached")
        answered(page)
        # A version of another task has another form.
        add_version(source, folder / "3", task="multilabel")
        come_back("version 3 ")
        assert page.input_value("#fields textarea") == ""
        assert page.inner_text("#summary") == ""
        assert page.inner_text("#news") == "Version 3 is loaded now."


def test_numbers_that_json_has_not(serve, page, tmp_path):
    """The page shows NaN and infinities, which JSON does not have."""
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, name="x")
    module.log = tf.function(
        lambda x: {"log": tf.math.log(x), "said": tf.fill(tf.shape(x), '"NaN')},
        input_signature=[spec],
        autograph=False,
    )
    tf.saved_model.save(
        module, str(tmp_path / "1"), signatures={"serving_default": module.log}
    )
    with serving_toy.served({"log": tmp_path}) as server:
        visit(page, server.url, "log")
        write(page, "[0, 1, -1]")
        page.keyboard.press("Control+Enter")
        assert answered(page) == "3 predictions"
        said = {"said": '"NaN'}
        assert json.loads(page.inner_text("#body pre")) == [
            {"log": "-Infinity", **said}, {"log": 0, **said},
            {"log": "NaN", **said},
        ]  # fmt: skip


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_curl_command_gives_what_is_shown(serve, page):
    visit(page, serve("classification"), "classification")
    write(page, HOSTILE + "\n$(echo no) `no` \\ !! 'quoted'")
    page.keyboard.press("Control+Enter")
    answered(page)
    page.get_by_role("button", name="Copy").press("Enter")
    page.get_by_text("Copied").wait_for()
    command = page.evaluate("navigator.clipboard.readText()")
    ran = subprocess.run(
        ["sh", "-c", f"{command} --silent"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    page.get_by_text("The answer in JSON").press("Enter")
    shown = page.locator("#request details pre")
    shown.filter(has_text="predictions").wait_for()
    printed, shown = json.loads(ran.stdout), json.loads(shown.inner_text())
    assert printed["predictions"][0].pop("probabilities") == pytest.approx(
        shown["predictions"][0].pop("probabilities"), abs=1e-5
    )
    assert printed == shown


def test_a_model_without_a_description_is_asked_in_json(serve, page):
    visit(page, serve("plain"), "plain")
    write(page, '["the cat", "the dog"]')
    page.keyboard.press("Control+Enter")
    assert answered(page) == "2 predictions"
    write(page, "the cat")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#error:not(:empty)")
    assert "JSON" in page.inner_text("#error")


def test_errors_are_shown(serve, page, errors):
    visit(page, serve("classification"), "classification")
    page.click("#run")
    assert "first" in page.inner_text("#error")
    area = page.locator("#fields textarea")
    assert area.get_attribute("aria-invalid") == "true"
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"

    area.fill("x" * (REQUEST_BYTES + 1))
    page.click("#run")
    page.wait_for_selector("#error:not(:empty)")
    page.get_by_text("larger than this server takes").wait_for()

    area.fill("the cat")
    page.context.set_offline(True)
    try:
        page.click("#run")
        page.get_by_text("cannot be reached").wait_for()
    finally:
        page.context.set_offline(False)
    page.click("#run")
    answered(page)
    assert page.inner_text("#error") == ""
    assert all("Failed to load" in error for error in errors)
    errors.clear()  # the browser reports the failed requests


def test_several_models(serve, page):
    """A model is chosen by keyboard; each model keeps its text."""
    visit(page, serve("classification", "discriminator"), "classification")
    write(page, "the cat")
    page.keyboard.press("Control+Enter")
    headline = answered(page)
    page.focus("#model")
    page.keyboard.type("disc")
    assert page.title().startswith("discriminator")
    assert page.input_value("#fields textarea") == ""
    assert page.inner_text("#summary") == ""
    page.keyboard.press("ArrowUp")
    assert page.title().startswith("classification")
    assert page.input_value("#fields textarea") == "the cat"
    assert page.inner_text("#summary") == headline
    assert page.url.endswith("#model=classification")


def test_light_and_dark(serve, browser):
    context = browser.new_context(color_scheme="dark")
    try:
        page = context.new_page()
        page.goto(serve("classification"))
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(ground)
        page.get_by_role("button", name="Use light colours").press("Enter")
        light = page.evaluate(ground)
        assert light != dark
        page.reload()  # the choice is stored
        assert page.evaluate(ground) == light
        page.get_by_role("button", name="Use dark colours").press("Space")
        assert page.evaluate(ground) == dark
    finally:
        context.close()
