"""Sections of a document that a program writes, between two marks."""


def replaced(text: str, name: str, body: str) -> str:
    """The text with another section of that name.

    Args:
      text: Markdown with `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
      name: of the section.
      body: what stands between from now on.

    Raises:
      SystemExit: the marks are not there, or not once each in this order.
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
