"""Uploads a model to a hub, from where others load it by its handle."""

import dataclasses

from electra_tf.recipes.arguments import checked


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A model that was uploaded; its `str()` is what the command prints.

    Attributes:
      source: the directory or run of the model.
      handle: its handle, for `electra_tf.load` and --model.
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
      private: make a new repository private
      message: description of the change

    Returns:
      The handle.

    Raises:
      UserError: the model or the package is missing, the handle is not valid,
        or there is no network or no permission to write.
    """
    from electra_tf.hub import publishing

    return Pushed(model, publishing.push(model, to, private, message))
