"""Normalises tags of spans in other spellings: "PER-B", "B_PER", "b-per"."""

import re
from collections.abc import Collection, Iterable, Mapping

from electra_tf.tasks.tagging import schemes

_LETTERS = "BIESLUM"
# Description of a spelling -> pattern of its tags, with letter and type.
_FORMS = {
    "B-PER": re.compile(rf"(?P<letter>[{_LETTERS}])-(?P<kind>.+)"),
    "B_PER": re.compile(rf"(?P<letter>[{_LETTERS}])_(?P<kind>.+)"),
    "PER-B": re.compile(rf"(?P<kind>.+)-(?P<letter>[{_LETTERS}])"),
    "PER_B": re.compile(rf"(?P<kind>.+)_(?P<letter>[{_LETTERS}])"),
    "b-per": re.compile(rf"(?P<letter>[{_LETTERS.lower()}])-(?P<kind>.+)"),
    "b_per": re.compile(rf"(?P<letter>[{_LETTERS.lower()}])_(?P<kind>.+)"),
    "per-b": re.compile(rf"(?P<kind>.+)-(?P<letter>[{_LETTERS.lower()}])"),
    "per_b": re.compile(rf"(?P<kind>.+)_(?P<letter>[{_LETTERS.lower()}])"),
}
_USUAL = "B-PER"


def find(tags: Collection[str]) -> str | None:
    """Detects how tags are spelled; returns "B-PER" in that spelling.

    Args:
      tags: the distinct tags of a file.

    Returns:
      The spelling; None where it is the usual one, or some tag marks no span.
    """
    inside = [tag for tag in tags if tag.upper() != schemes.OUTSIDE]
    plain = all(schemes.looks_like_spans(tag) for tag in inside)
    if not inside or (plain and "o" not in tags):
        return None
    for name, form in _FORMS.items():
        found = [form.fullmatch(tag) for tag in inside]
        if not all(found):
            continue
        letters = {match["letter"].upper() for match in found if match}
        if letters & set("BISU"):  # without these a span could not begin
            return name
    return None


def plain(tags: Iterable[str], spelling: str) -> Mapping[str, str]:
    """Returns tag -> the same tag in the usual spelling."""
    form = _FORMS[spelling]
    found = {}
    for tag in tags:
        match = form.fullmatch(tag)
        if match:
            found[tag] = schemes.join_tag(
                match["letter"].upper(), match["kind"]
            )
        else:
            found[tag] = schemes.OUTSIDE if tag == "o" else tag
    return found


def types_alone(counts: Mapping[str, int]) -> bool:
    """Returns whether tags are span types without letters, and mostly "O".

    Args:
      counts: number of words with each tag.
    """
    inside = [tag for tag in counts if tag.upper() != schemes.OUTSIDE]
    most = max(counts, key=lambda tag: counts[tag], default="")
    return (
        most == schemes.OUTSIDE
        and bool(inside)
        and not share_like_spans(inside)
        and not any(tag in _LETTERS or tag == "-" for tag in inside)
        and not any(tag.isdigit() for tag in inside)
    )


def share_like_spans(tags: Collection[str]) -> float:
    """Returns the share of tags, except "O", that a spelling of spans
    matches.
    """
    inside = [tag for tag in tags if tag.upper() != schemes.OUTSIDE]
    like = [
        tag
        for tag in inside
        if any(form.fullmatch(tag) for form in _FORMS.values())
    ]
    return len(like) / len(inside) if inside else 0.0
