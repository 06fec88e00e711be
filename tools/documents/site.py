"""Adds files beside `docs/` to the site, by hooks of mkdocs.

README.md is its home; CONTRIBUTING.md and CHANGELOG.md are pages. Links to
files that are not pages become plain text: the site does not have them.
"""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A file of the repository, and the page that it becomes.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """Adds the pages that lie beside `docs/`."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        text = _LINK.sub(lambda found: _link(found, "."), text)
        text = text.replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Adapts links of the pages in `docs/` that lead out of it."""
    if page.file.src_uri in PAGES.values():
        return markdown
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    return _LINK.sub(lambda found: _link(found, folder), markdown)


def _link(found, folder):
    """Returns a link in the form that the site needs."""
    words, target, anchor = found[1], found[2], found[3] or ""
    path = posixpath.normpath(posixpath.join(folder, target))
    if path in PAGES:
        return f"[{words}]({PAGES[path]}{anchor})"
    if not path.startswith("docs/"):
        return words if words.startswith("`") else f"`{path}`"
    if folder == ".":
        return f"[{words}]({path.removeprefix('docs/')}{anchor})"
    return found[0]
