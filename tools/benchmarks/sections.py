"""Replaces sections of a document that are generated, between two marks."""


def replaced(text: str, name: str, body: str) -> str:
    """Returns the text with the named section replaced.

    Args:
      text: Markdown with `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
      name: of the section.
      body: its new content.

    Raises:
      SystemExit: the marks do not occur once each, in this order.
    """
    begin, end = (f"<!-- {name}: {at} -->" for at in ("begin", "end"))
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end) or begin in rest or end in after:
        raise SystemExit(
            f"benchmark: expected the lines '{begin}' and '{end}' in the "
            "document, once each and in this order"
        )
    return f"{before}{begin}\n{body}\n{end}{after}"
