"""Tests of accessibility: axe-core's rules, sizes, colours, odd texts."""

import pathlib

import browsers
import page_models
import pytest

QUICK = ("classification",)
kinds = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow)
        for kind in page_models.KINDS
    ],
)
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def browser():
    browsers.need_browser()
    with browsers.opened() as found:
        yield found


@pytest.fixture
def visit(browser):
    """A function that returns a page with models of kinds, and its site."""
    contexts = []

    def visit(*kinds, language="en", hash="", phone=False):
        # The page allows its own scripts only; axe is evaluated in it.
        width, height = SIZES["phone" if phone else "desktop"]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            has_touch=phone, is_mobile=phone, color_scheme="light",
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        site = page_models.Site(context, *kinds, language=language)
        page.goto(f"{page_models.ADDRESS}/{hash}")
        return page, site

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def axe():
    path = browsers.axe_path()
    if path is None:
        pytest.skip("no axe-core: pip install 'electra-tf[dev]'")
    return pathlib.Path(path).read_text(encoding="utf-8")


def faults(page, axe):
    """Returns serious violations of axe's rules, for sizes and colours."""
    page.evaluate(axe)
    found = set()
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            violations = page.evaluate(
                "axe.run(document, {resultTypes: ['violations']})"
                ".then(found => found.violations.map(each => [each.id,"
                " each.impact, ...each.nodes.map(node => node.html)]))"
            )
            found |= {
                (size, scheme, *each)
                for each in violations
                if each[1] in SERIOUS
            }
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (size, scheme)
    return sorted(found)


@kinds
def test_axe_finds_nothing_serious(visit, axe, kind):
    """A page with a prediction for a truncated text has no violations."""
    page, _ = visit(kind)
    page_models.fill(page, kind, page_models.TEXTS["long"])
    page.get_by_text("The answer in JSON").click()
    assert faults(page, axe) == []


@pytest.mark.slow
def test_axe_finds_nothing_serious_in_errors(visit, axe):
    """A page without models, and one with an error, have no violations."""
    page, site = visit()
    page.get_by_text("no model yet").wait_for()
    assert faults(page, axe) == []
    site.models = [page_models.described("pairs")]
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("#panel:not([hidden])")
    page.click("#run")
    page.get_by_text("Write something into “First text” first.").wait_for()
    assert faults(page, axe) == []


HARD = [*page_models.TEXTS, "nothing"]


@kinds
@pytest.mark.slow
def test_hard_texts_fit_on_a_phone(visit, kind):
    page, _ = visit(kind, phone=True)
    for name in HARD:
        page_models.fill(page, kind, page_models.TEXTS.get(name, name))
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, name


def go(page, hash):
    """Changes the hash of the address, as a link does."""
    page.evaluate("hash => { location.hash = hash; }", hash)
    page.wait_for_timeout(100)


@pytest.mark.slow
def test_the_address_is_followed(visit):
    """The page follows links to models and versions, back and forward."""
    page, site = visit("classification", "qa", "tagging", hash="#model=qa")
    title = page.locator("#title")
    page.get_by_text("What does the text answer?").wait_for()
    go(page, "model=tagging")
    assert title.inner_text() == "Which tags do the words get?"
    page.locator("#model").select_option("classification")
    assert title.inner_text() == "Which label fits?"
    page.go_back()
    page.get_by_text("Which tags do the words get?").wait_for()
    assert page.locator("#model").input_value() == "tagging"
    page.go_forward()
    page.get_by_text("Which label fits?").wait_for()

    site.models[1]["older"] = [
        {"version": "2", "description": site.models[1]["description"]}
    ]
    page.reload()
    page.get_by_text("Which label fits?").wait_for()
    go(page, "model=qa&version=2")
    assert "version 2, as the address asks" in page.inner_text("#facts")
    page_models.fill(page, "qa", "the cat")
    assert (
        site.requests[-2:] == ["/v1/models/qa/versions/2:predict"] * 2
    )  # for the prediction and the truncation
    page.get_by_text("use the newest").click()
    page.get_by_text("version 3").wait_for()
    page_models.fill(page, "qa", "the cat")
    assert site.requests[-1] == "/v1/models/qa:predict"
    go(page, "model=qa&version=9")
    assert "version 9, which is not served" in page.inner_text("#facts")
    go(page, "model=other&version=x")
    assert "no model “other”" in page.inner_text("#news")
    assert title.inner_text() == "What does the text answer?"


def test_a_pinned_version_shows_its_own_form(visit):
    """It shows its own task and language, not those of the newest."""
    page, site = visit()
    page.get_by_text("no model yet").wait_for()
    newest = page_models.described("qa", version="3")
    older = page_models.described("tagging", "zh", version="2")
    del older["name"]
    newest |= {"older": [older], "labels": {"stable": "2", "next": "4"}}
    site.models = [newest]
    site.failing = (503, {"error": "not now"})  # only requests are checked
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("What does the text answer?").wait_for()
    for choice, path, text in (
        ("version=2", "versions/2", "version 2, as the address asks"),
        ("label=stable", "labels/stable", "version 2 (stable), as the address"),
    ):
        go(page, f"model=qa&{choice}")
        assert page.inner_text("#title") == "Which tags do the words get?"
        facts = page.inner_text("#facts")
        assert text in facts and "tagging/toy · Chinese" in facts
        assert (
            page.locator("#examples button").first.inner_text()
            == (page_models.TEXTS["zh"])
        )
        page.locator("#examples button").first.click()
        page.wait_for_selector("#answer[aria-busy=false] #error:not(:empty)")
        assert site.requests[-1] == f"/v1/models/qa/{path}:predict"
    go(page, "model=qa&label=next")
    assert "version 4 (next), which is not served" in page.inner_text("#facts")
    # The label moves to the newest version, and the page follows.
    go(page, "model=qa&label=stable")
    newest["labels"]["stable"] = "3"
    page.evaluate("dispatchEvent(new Event('focus'))")
    page.get_by_text("version 3 (stable), as the address asks").wait_for()
    assert page.inner_text("#title") == "What does the text answer?"


@pytest.mark.slow
def test_many_masks_are_paged(visit):
    page, _ = visit("generator")
    page_models.fill(page, "generator", "[MASK] " * 30)
    assert page.inner_text("#summary").endswith(" and 26 more")
    legends = page.locator("#body legend")
    assert legends.count() == 12
    page.get_by_role("button", name="Masks after").press("Enter")
    page.keyboard.press("Enter")
    assert page.inner_text(".pager [role=status]") == "Masks 25 to 30 of 30"
    page.keyboard.press("Enter")  # the last page; the focus stays
    assert legends.first.inner_text() == "Mask 25"
    page.locator(".guess input").nth(2).check()
    assert page.locator(".filled .mark").nth(24).inner_text() == "中"
    page.get_by_role("button", name="Masks before").press("Enter")
    assert legends.first.inner_text() == "Mask 13"


@pytest.mark.slow
def test_hints_are_for_fingers_where_there_are_fingers(visit):
    page, _ = visit("tagging", phone=True)
    page_models.fill(page, "tagging", page_models.TEXTS["en"])
    assert page.locator(".keys").is_hidden()
    assert page.inner_text(".reading").startswith("Tap a marked word")
    page.locator("#body .mark").first.tap()
    assert "at each word" in page.inner_text(".reading")
    page, _ = visit("tagging")
    page_models.fill(page, "tagging", page_models.TEXTS["en"])
    assert page.locator(".keys").is_visible()
    assert "arrow keys" in page.inner_text(".reading")


@pytest.mark.slow
def test_alike_texts(visit):
    """An export with only `embed` ranks texts by similarity."""
    page, _ = visit("embeddings")
    page.locator("#fields textarea").first.fill("one")
    for number, text in enumerate(("two", "one")):
        page.locator(".text-list textarea").nth(number).fill(text)
    page.keyboard.press("Control+Enter")
    page.get_by_text("Candidate 2 is nearest, cosine 1.000").wait_for()
    assert page.locator("#body bdi").all_inner_texts() == ["one", "two"]


ERRORS = [
    (400, {"error": "the text is <b>bad</b>"}, "It says: the text is <b>bad"),
    (404, {"error": "no 3"}, "no such model (any more). It says: no 3"),
    (413, {"error": "9 rows"}, "larger than this server takes"),
    (429, "<html>", "The server is busy."),
    (500, "<html>", "The server failed to answer (status 500)."),
    (504, {}, "took longer than this server allows"),
    (200, "<html>", "no JSON object"),
    (200, {"predictions": 3}, "holds no predictions"),
    (200, {"predictions": [{"label": "a"}]}, "lacks parts"),
    (200, {"predictions": []}, "lacks parts"),
]


@pytest.mark.slow
def test_errors(visit):
    """Each error is shown in words; the next success replaces it."""
    page, site = visit("classification")
    page.locator("#fields textarea").fill("the cat")
    for status, body, words in ERRORS:
        site.failing = status, body
        page.click("#run")
        page.locator("#error").get_by_text(words).wait_for()
        assert page.inner_text("#summary") == ""
    site.gone = True
    page.click("#run")
    page.get_by_text("cannot be reached").wait_for()
    site.failing, site.gone = None, False
    page.click("#run")
    page.wait_for_selector("#summary:not(:empty)")
    assert page.inner_text("#error") == ""


@pytest.mark.slow
def test_the_server_comes_later(visit):
    page, site = visit()
    page.get_by_text("no model yet").wait_for()
    site.gone = True
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("cannot be reached").wait_for()
    site.gone = False
    site.models = [page_models.described("regression")]
    page.get_by_text("What score does it get?").wait_for()  # without a click
    assert page.locator("#loading").is_hidden()
    page_models.fill(page, "regression", "the cat")
    assert "2.50 on average, most between 0.00" in page.inner_text("#body")


def test_a_cut_text_is_marked(visit):
    page, _ = visit("classification", "tagging", "discriminator")
    assert "reads the first 40 tokens" in page.inner_text("#facts")
    page_models.fill(page, "classification", page_models.TEXTS["en"])
    assert page.locator("#cut").is_hidden()
    # 12 tokens a sentence: the fourth is read up to its fourth word.
    page_models.fill(page, "classification", page_models.TEXTS["long"])
    shown = page.inner_text("#cut")
    assert "40 of 480 tokens were read" in shown
    assert page.text_content("#cut s").startswith(" his dog walked slowly")
    assert "The old man and" in shown
    go(page, "model=tagging")
    assert "tokens" not in page.inner_text("#facts")
    assert page.locator("#cut").is_hidden()
    go(page, "model=discriminator")
    page_models.fill(page, "discriminator", page_models.TEXTS["long"])
    unread = page.text_content("#body .unread")
    assert unread.startswith(" his dog walked slowly")
    assert unread.endswith("river. ")
