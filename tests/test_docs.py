"""Tests that the links, commands, flags, keys and code of the docs exist.

Nothing here imports TensorFlow.
"""

import ast
import functools
import importlib
import io
import pathlib
import re
import tokenize

import pytest
import write_docs
from documents import commands as command_pages
from documents import figures, pages, reference, results

import electra_tf
from electra_tf import config
from electra_tf.cli import app, flags
from electra_tf.errors import UserError
from electra_tf.finetuning import settings as finetune_settings
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.tasks import registry

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = pages.all_pages()
# Pages written by hand; the others are generated from the code.
WRITTEN = [
    page
    for page in PAGES
    if page.parent.name != "reference" and page.name != "settings.md"
]


def each_page(of=tuple(PAGES)):
    return pytest.mark.parametrize(
        "page", of, ids=lambda page: str(page.relative_to(ROOT))
    )


# --- Links ---


@each_page()
def test_links_have_targets(page):
    text = page.read_text("utf-8")
    for target in pages.links(text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{page.name}: no {target}"
        if anchor:
            known = pages.anchors(other.read_text("utf-8"))
            assert anchor in known, f"{page.name}: {target}: {sorted(known)}"


# --- Commands ---


def parsed(name, words):
    """Returns the arguments of a command, as its own parser reads them."""
    command = app.COMMANDS[name]
    function = command_pages.function_of(name)
    values = flags.define(function)
    # A page may write `...` for required flags that it does not show.
    if "..." in words or any(word.endswith("=...") for word in words):
        for flag in values:
            if flag in values and hasattr(values[flag], "validators"):
                values[flag].validators.clear()
        words = [w for w in words if w != "..." and not w.endswith("=...")]
    words = [w.strip("[]") for w in words if not w.startswith("$")]
    app._parse(name, values, words, command.words)
    return flags.arguments(function, values)


@each_page()
def test_commands_parse(page, monkeypatch):
    """Commands have valid names, flags, values and settings."""
    monkeypatch.chdir(ROOT)
    for line, (name, *words) in pages.commands(page.read_text("utf-8")):
        place = f"{page.name}:{line}: electra-tf {name}"
        assert name in app.COMMANDS or name.isupper() or name[0] == "-", place
        if name not in app.COMMANDS or "--help" in words:
            continue
        try:
            given = parsed(name, words)
            path, _, _ = app.COMMANDS[name].function.partition(":")
            module = importlib.import_module(f"electra_tf.{path}")
            if given.get("config") and not known_file(given["config"]):
                continue
            if ".py:" in (given.get("task") or ""):
                continue  # a task that the page defines
            if hasattr(module, "check_settings"):
                module.check_settings(**given)
            elif hasattr(module, "settings_class") and "config" in given:
                kind = module.settings_class(**given)
                config.resolve(kind, given["config"], given["overrides"])
        except UserError as error:
            pytest.fail(f"{place}: {error}")


def known_file(path):
    """Returns whether a config is in configs/; others are the reader's."""
    if path.startswith("configs/"):
        assert (ROOT / path).exists(), path
        return True
    return False


def test_wrong_commands_are_refused(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match="unknown flag '--rnak'"):
        parsed("score", ["--rnak", "--model=a", "--input=b"])
    with pytest.raises(UserError, match="num_samples"):
        parsed("generate", ["--model=a", "--num_samples=many"])
    with pytest.raises(UserError, match="required"):
        parsed("export", ["--model=a"])


def test_commands_are_found():
    text = (ROOT / "README.md").read_text("utf-8")
    assert [words[0] for _, words in pages.commands(text)] == [
        "build-vocab", "build-data", "pretrain", "evaluate-pretraining", "fill",
    ]  # fmt: skip
    uses = (ROOT / "docs" / "what-electra-does.md").read_text("utf-8")
    assert len(list(pages.commands(uses))) > 10


def test_the_readme_has_every_command():
    spans = pages.spans((ROOT / "README.md").read_text("utf-8"))
    assert sorted(app.COMMANDS.keys() - set(spans)) == []


@each_page(WRITTEN)
def test_commands_are_in_shell_blocks(page):
    """Commands are in shell blocks, the only place where they are checked."""
    text = page.read_text("utf-8")
    wrong = re.findall(
        r"^    (?:\$ )?electra-tf .*", pages.without_code(text), re.M
    )
    assert not wrong
    for block in pages.blocks(text):
        assert block.language, f"{page.name}:{block.line}: name the language"


@each_page()
def test_tools_exist(page):
    text = page.read_text("utf-8").replace("\\\n", " ")
    for path, rest in re.findall(r"python (tools/\w+\.py)(.*)", text):
        assert (ROOT / path).exists(), path
        sources = [ROOT / path, *(ROOT / "tools" / "benchmarks").glob("*.py")]
        known = "".join(each.read_text("utf-8") for each in sources)
        for flag in re.findall(r" (--\w+)", rest):
            known_flag = f'"{flag}"' in known or flag == "--help"
            assert known_flag, f"{page.name}: {path} {flag}"


# --- Keys, flags and files in running text ---

_SECTIONS = "model|generator|masking|objective|train|data|options"


@functools.cache
def keys():
    """Returns every key that a settings file may have."""
    found = {key.key for key in config.describe(PretrainSettings)}
    kind = finetune_settings.settings_class("classification")
    found |= {key.key for key in config.describe(kind)}
    for family in registry.FAMILIES:
        options = registry.options_class(family)
        found |= {k.key for k in config.describe(options, "options.")}
    return found


@functools.cache
def flag_names():
    """Returns every flag of the commands and of the programs in tools/."""
    found = set()
    for name in app.COMMANDS:
        for flag in flags.define(command_pages.function_of(name)):
            found |= {f"--{flag}", f"--no{flag}"}
    for path in [
        *(ROOT / "tools").rglob("*.py"),
        *(ROOT / "electra_tf" / "original").glob("*.py"),
        *(ROOT / "tests" / "e2e").glob("*.py"),
    ]:
        found |= set(
            re.findall(r"[\"'](--[\w-]+)[\"'=]", path.read_text("utf-8"))
        )
    return found


@each_page(WRITTEN)
def test_keys_exist(page):
    for span in pages.spans(page.read_text("utf-8")):
        found = re.fullmatch(
            rf"(?:--set[ =])?((?:{_SECTIONS})\.\w+)(?:[=:].*)?", span
        )
        if found and not found[1].endswith((".yaml", ".safetensors", ".onnx")):
            assert found[1] in keys(), f"{page.name}: `{span}`"


# Flags of other programs that pages mention.
_OTHERS = {
    "--gpu_price", "--tpu_price",  # of tools/flops.py, made in a loop
    "--help", "--version", "--flag", "--config-setting",
    "--enable_cors_support", "--rest_api_timeout_in_ms", "--model_name",
    "--model_base_path", "--blanks-separate-docs", "--data-dir",
}  # fmt: skip


@each_page(WRITTEN)
def test_flags_exist(page):
    for span in pages.spans(page.read_text("utf-8")):
        for flag in re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", span):
            known = flag in flag_names() or flag in _OTHERS
            assert known, f"{page.name}: `{span}`"


@each_page(WRITTEN)
def test_files_exist(page):
    for span in pages.spans(page.read_text("utf-8")):
        found = re.fullmatch(
            r"(?:python )?((?:tools|electra_tf|configs|docs|examples|tests)/"
            r"[\w./-]+)",
            span.partition(" -")[0],
        )
        if found and not pathlib.Path(found[1]).stem.isupper():
            assert (ROOT / found[1]).exists(), f"{page.name}: `{span}`"


# --- Python ---


@each_page()
def test_python_compiles_and_its_imports_exist(page):
    for block in pages.blocks(page.read_text("utf-8")):
        if block.language != "python":
            continue
        place = f"{page.name}:{block.line}"
        try:
            tree = compile(
                block.text, place, "exec",
                ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )  # fmt: skip
        except SyntaxError as error:
            pytest.fail(f"{place}: {error}")
        for name in names_used(tree):
            assert exists(name), f"{place}: {name}"


def names_used(tree):
    """Yields the dotted names of this package that code imports or reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] == "electra_tf":
                yield from (f"{node.module}.{a.name}" for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                each.name
                for each in node.names
                if each.name.split(".")[0] == "electra_tf"
            )
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "electra_tf"
        ):
            yield f"electra_tf.{node.attr}"


def listed(node):
    """Returns the names in an assignment of `__all__`; none for other nodes."""
    targets = [getattr(t, "id", None) for t in getattr(node, "targets", [])]
    return ast.literal_eval(node.value) if targets == ["__all__"] else ()


def exists(name):
    """Returns whether the sources have such a module, or a name in one."""
    parts = name.split(".")
    path = ROOT.joinpath(*parts)
    if path.with_suffix(".py").exists() or path.is_dir():
        return True
    if parts[:-1] == ["electra_tf"]:
        return parts[-1] in electra_tf.__all__
    home = ROOT.joinpath(*parts[:-1]).with_suffix(".py")
    if not home.exists():
        home = ROOT.joinpath(*parts[:-1]) / "__init__.py"
    return home.exists() and any(
        getattr(node, "name", None) == parts[-1]
        or parts[-1]
        in [getattr(t, "id", None) for t in getattr(node, "targets", [])]
        or parts[-1] in listed(node)
        for node in ast.parse(home.read_text("utf-8")).body
    )


def test_wrong_names_are_refused():
    code = "import electra_tf\nelectra_tf.Nothing\nfrom electra_tf import files"
    found = {name: exists(name) for name in names_used(ast.parse(code))}
    assert found == {
        "electra_tf": True,
        "electra_tf.Nothing": False,
        "electra_tf.files": True,
    }


# --- What programs write ---


@pytest.mark.parametrize(
    ("path", "text"),
    (write_docs.generated() | write_docs.renewed()).items(),
    ids=lambda each: each.name if isinstance(each, pathlib.Path) else "",
)
def test_written_pages_are_up_to_date(path, text):
    assert path.exists() and path.read_text("utf-8") == text, (
        "run python tools/write_docs.py"
    )


def test_every_public_name_has_its_entry():
    shown = [name for _, _, names in reference.PAGES.values() for name in names]
    assert sorted(shown) == sorted(set(electra_tf.__all__) - {"__version__"})
    functions = {
        app.COMMANDS[name].function.rpartition(":")[2] for name in app.COMMANDS
    }
    assert functions <= {*shown, *reference.OTHER_RECIPES}


def test_every_setting_has_its_entry():
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert len(keys()) > 150
    assert [key for key in sorted(keys()) if f"| `{key}` |" not in text] == []


def test_the_help_of_finetune_has_every_task():
    text = electra_tf.finetune.__doc__
    there = text.partition("Tasks:")[2].partition("Started")[0]
    assert [name for name in registry.FAMILIES if name not in there] == []


def test_every_page_of_the_site_is_in_its_menu():
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in menu


# --- Words ---

_PRIVATE = re.compile(
    r"\b(?:(?:goes?|going|went) on|told|afresh|from nothing)\b"
)


@each_page()
def test_words_are_those_of_the_field(page):
    """Pages have none of these words; docs/style.md has others for them."""
    if page.name == "style.md":
        return
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        assert not _PRIVATE.search(line), f"{page.name}:{number}: {line}"


_COMMENTS_ONLY = re.compile(_PRIVATE.pattern + r"|\bsee there\b|\bone's own\b")


def comments(path: pathlib.Path):
    """Yields (line, text) of each comment and docstring of a module."""
    text = path.read_text("utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, kinds) and (doc := ast.get_docstring(node)):
            yield node.body[0].lineno, doc


@pytest.mark.parametrize("folder", ["electra_tf", "tools", "tests"])
def test_words_of_comments_are_those_of_the_field(folder):
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip():.200}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in comments(path)
        if _COMMENTS_ONLY.search(" ".join(text.split()))
    ]
    assert not found, "docs/style.md has other words:\n" + "\n".join(found)


# --- Figures ---


@each_page(WRITTEN)
def test_no_measurement_is_written_by_hand(page):
    """Measured numbers are in docs/results/PAGE.yaml, not in the page.

    tools/write_docs.py copies them from there into the page.
    """
    found = figures.by_hand(page.read_text("utf-8"))
    assert not found, "\n".join(f"{page.name}:{n}: {line}" for n, line in found)


@pytest.mark.parametrize(
    "line",
    [
        "It is 3.6 times as fast as before.",
        "22.2 MB/s on both cores",
        "It takes 50 minutes.",
        "The loss is 12.09 after that; an AUC of 0.85.",
        "| SST-2 | 78.9 (78.3 to 80.0) | 77.1 |",
        "528 sentences a second",
        "3 % faster",
        "BLEU 39.2",
    ],
)
def test_measurements_are_found(line):
    assert figures.by_hand(line) == [(1, line)]
    assert not figures.by_hand(f"{line} {figures.NOT_MEASURED}")
    begin, end = (f"<!-- results/x.yaml#y: {at} -->" for at in ("begin", "end"))
    assert not figures.by_hand(f"{begin}\n{line}\n{end}")


@pytest.mark.parametrize(
    "line",
    [
        "TensorFlow 2.20 or 2.21 and Python 3.10 to 3.13",
        "15 % of the tokens are masked, of which 85 % become [MASK]",
        "a text of at most 128 KiB, 60 seconds for the answer",
        "| `--port` | 8501 | where it listens |",
    ],
)
def test_facts_are_not_measurements(line):
    assert not figures.by_hand(line)


def test_every_result_is_shown_with_date_and_command():
    measured = results.Results(ROOT / "docs" / "results")
    shown = {
        each
        for page in PAGES
        for each in results.shown(page.read_text("utf-8"))
    }
    assert shown == set(measured.names())
    for path in (ROOT / "docs" / "results").glob("*.yaml"):
        if path.stem == "configs":
            continue
        for name, entry in measured.entries(path.stem).items():
            assert re.match(r"20\d\d-\d\d.*core", entry["measured"]), name
            assert entry["command"], f"{path.name}: {name}"


def expectation(config: pathlib.Path) -> str:
    """Returns the text after "Expect:" in the head of a configuration."""
    head = re.match(r"(?:#.*\n)+", config.read_text("utf-8"))
    _, _, text = head[0].partition("Expect:") if head else ("", "", "")
    text = re.split(r"\n(?!# )", text)[0]
    return re.sub(r"\s*\n# +", " ", text).strip()


def test_expected_results_of_configs_name_their_source():
    """docs/results/configs.yaml names the day or publication of each."""
    known = results.Results(ROOT / "docs" / "results").entries("configs")
    found = {}
    for path in (ROOT / "configs").rglob("*.yaml"):
        text = expectation(path)
        if re.search(r"\d\.\d|\d (?:minutes|hours)", text):
            name = path.relative_to(ROOT / "configs").with_suffix("")
            found[name.as_posix()] = text
    assert found == {name: entry["expect"] for name, entry in known.items()}
    for name, entry in known.items():
        assert ("measured" in entry) != ("source" in entry), name
