"""The flags of `finetune` -> where its weights come from."""

from typing import Any

from electra_tf.errors import UserError
from electra_tf.finetuning import start


def make(
    model: Any,
    path: str | None,
    random_weights: bool,
    new_head: bool,
    vocab: str | None,
    lower_case: bool | None,
    strip_accents: bool | None,
) -> start.Start:
    """Opens the checkpoint, or makes a start from nothing.

    Args:
      model: the settings' section of that name.
      path: --model.
      random_weights: the flag.
      new_head: the flag.
      vocab: the flag.
      lower_case: the flag; None where it was not given.
      strip_accents: the same.

    Raises:
      UserError: flags that do not go together; see `tasks.finetuning.start`.
    """
    if path is None:
        for flag, given in (
            ("--random_weights", random_weights),
            ("--new_head", new_head),
        ):
            if given:
                raise UserError(f"{flag}: needs --model")
        return start.from_nothing(
            model, vocab, lower_case is not False, strip_accents
        )
    overrides = {
        name: str(value).lower()
        for name, value in (
            ("lower_case", lower_case),
            ("strip_accents", strip_accents),
        )
        if value is not None
    }
    return start.from_checkpoint(
        path,
        model,
        vocab=vocab,
        overrides=overrides,
        random_weights=random_weights,
        new_head=new_head,
    )
