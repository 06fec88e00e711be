"""Puts a model onto a hub, from where others load it by its handle."""

import dataclasses

from electra_tf.recipes.arguments import checked


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A model that was uploaded; as text, what the command prints.

    Attributes:
      source: the directory or run that it is from.
      handle: what `electra_tf.load` and --model take.
    """

    source: str
    handle: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.handle}"


@checked
def push(
    model: str,
    to: str,
    *,
    private: bool = False,
    message: str | None = None,
) -> Pushed:
    """Puts a model onto a hub, from where others load it by its handle.

      electra-tf push --model=RUN --to=hf://org/name

    The package of the hub uploads it and knows the user (`hf auth login`, or
    the environment variable HF_TOKEN): huggingface_hub, the extra `hf`, or
    kagglehub, the extra `kaggle`. For a model that transformers loads, convert
    it first: `electra-tf convert --to=huggingface`.

    Args:
      model: model directory of any format, or a run that has ended
      to: handle: hf://org/name, or kaggle://owner/model/framework/variation
      private: make a new repository for its owner alone
      message: what the change is said to be

    Returns:
      The handle.

    Raises:
      UserError: no such model, another handle, no package, no network, or no
        right to write there.
    """
    from electra_tf.hub import publishing

    return Pushed(model, publishing.push(model, to, private, message))
