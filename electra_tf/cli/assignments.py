"""Flags that assign: section.key=value, as often as wanted."""

from collections.abc import Sequence

from electra_tf.errors import UserError


def parse(texts: Sequence[str], flag: str) -> dict[str, str]:
    """["a.b=c"] -> {"a.b": "c"}.

    Args:
      texts: the flag's values.
      flag: its name, for messages.

    Raises:
      UserError: one without an equals sign.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UserError(f"{flag}: expected section.key=value, got '{text}'")
        found[key.strip()] = value.strip()
    return found
