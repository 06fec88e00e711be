"""Trains a part of a network: LoRA, freezing by layer, adapters."""

import json
import math
import numbers
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, Literal

import keras

from electra_tf import files, tensors
from electra_tf.errors import UserError
from electra_tf.models import initial

Targets = Literal["query_value", "attention", "all"]

# Which of query, key and value change.
_QKV: dict[str, tuple[int, ...]] = {
    "query_value": (0, 2), "attention": (0, 1, 2), "all": (0, 1, 2),
}  # fmt: skip
_CONFIG, _WEIGHTS = "adapter.json", "adapter.safetensors"
_FORMAT = "electra_tf adapter"


class Adaptable:
    """Lets an encoder, and every network with one, train only a part.

    A network with an `encoder`, and a task whose `network` has one, adapt that
    encoder; their heads train as before.
    """

    def _adapted(self) -> Any:
        """Returns the encoder; not a property, as Keras saves attributes."""
        found: Any = self
        for name in ("network", "encoder"):
            found = getattr(found, name, found)
        if not hasattr(found, "blocks"):
            raise UserError(f"{type(self).__name__} has no encoder to adapt")
        return found

    def enable_lora(
        self,
        rank: int,
        targets: Targets = "query_value",
        alpha: float | None = None,
        verbose: bool = True,
    ) -> None:
        """Freezes the encoder, and trains a low-rank change of its kernels.

        Its own weights are frozen, while heads on the encoder still train. Call
        it before the optimizer's first step, so before `fit`. `save_pretrained`
        writes merged weights, `save_adapter` only the change.

        Args:
          rank: rank of the change of each kernel; 4 to 16 are usual.
          targets: which kernels of each block change: "query_value",
            "attention" (query, key, value and output), or "all" (those of
            the feed-forward layers too).
          alpha: the change is scaled by alpha / rank; None means `rank`.
          verbose: whether to print which parameters train.

        Raises:
          UserError: the rank or targets are not valid, or LoRA is already
            enabled.
        """
        encoder = self._adapted()
        if targets not in _QKV:
            raise UserError(
                f"targets: {targets!r} is none of {', '.join(_QKV)}"
            )
        width = encoder.config.hidden_size
        if not isinstance(rank, numbers.Integral) or not 1 <= rank <= width:
            raise UserError(
                f"rank: {rank!r}; expected 1 to {width}, the encoder's width"
            )
        if alpha is not None and not 0 < alpha < math.inf:
            raise UserError(f"alpha: {alpha}; expected a number above 0")
        if encoder.lora is not None:
            raise UserError(
                f"LoRA of rank {encoder.lora[0]} is enabled already; load the "
                "network again for another"
            )
        seed = getattr(self, "seed", None)  # if it is a task on strings
        drawn = nullcontext() if seed is None else initial.seeded(seed)
        with drawn:
            encoder.lora = (int(rank), float(alpha or rank), targets)
        _renew(self)
        if verbose:
            print(self.trained())

    def freeze(self, up_to: int | None = None, verbose: bool = True) -> None:
        """Freezes the encoder from below: embeddings, then block by block.

        Gradients that only frozen weights need are not computed.

        Args:
          up_to: number of lowest blocks to freeze with the embeddings; None
            means all, 0 only the embeddings. Those above train.
          verbose: whether to print which parameters train.

        Raises:
          UserError: there are fewer blocks.
        """
        encoder = self._adapted()
        count = len(encoder.blocks)
        number = count if up_to is None else up_to
        if number not in range(count + 1):
            raise UserError(
                f"up_to: {up_to!r}; expected 0 to {count}, the encoder's blocks"
            )
        encoder.embeddings.trainable = False
        if encoder.embeddings_project is not None:
            encoder.embeddings_project.trainable = False
        for i, block in enumerate(encoder.blocks):
            block.trainable = i >= number
        freeze_kernels(encoder)
        _renew(self)
        if verbose:
            print(self.trained())

    def trained(self) -> str:
        """Describes which parameters train, in a line."""
        model: Any = self
        train = model.trainable_variables
        count = _count(train)
        total = count + _count(
            v for v in model.non_trainable_variables if "seed" not in v.path
        )
        places: dict[str, int] = {}
        for variable in train:
            place = _place(variable.path)
            places[place] = places.get(place, 0) + math.prod(variable.shape)
        counts = ", ".join(f"{name} {n:,}" for name, n in places.items())
        share = 100 * count / max(total, 1)
        return f"{count:,} of {total:,} parameters train ({share:.2f} %)" + (
            f": {counts}" if counts else ""
        )

    def merge_lora(self) -> None:
        """Adds LoRA's change to the kernels, and starts a new one at zero.

        Outputs are the same, up to rounding.

        Raises:
          UserError: LoRA is not enabled.
        """
        for dense in _changed(self._adapted()):
            dense.kernel.assign_add(dense.lora.change())
            dense.lora.up.assign(keras.ops.zeros_like(dense.lora.up))

    def save_adapter(self, path: str) -> None:
        """Writes only what trains: LoRA's change and the head.

        Args:
          path: a directory, created if absent.

        Raises:
          UserError: LoRA is not enabled, or it cannot be written.
        """
        encoder = self._adapted()
        _changed(encoder)
        rank, alpha, targets = encoder.lora
        arrays = {
            name: variable.numpy() for name, variable in _named(self).items()
        }
        content = {
            "format": _FORMAT,
            "rank": rank,
            "alpha": alpha,
            "targets": targets,
        }
        files.make_directory(path)
        tensors.save(files.join(path, _WEIGHTS), arrays)
        files.write_text(
            files.join(path, _CONFIG), json.dumps(content, indent=2) + "\n"
        )

    def load_adapter(self, path: str, verbose: bool = False) -> None:
        """Loads an adapter of `save_adapter`, and enables its LoRA.

        Args:
          path: the directory.
          verbose: whether to print which parameters train.

        Raises:
          UserError: it is not an adapter, or belongs to another network.
        """
        file = files.join(path, _CONFIG)
        try:
            settings = json.loads(files.read_text(file))
            if settings["format"] != _FORMAT:
                raise ValueError(f"format is {settings['format']}")
            wanted = (settings["rank"], settings["alpha"], settings["targets"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{file}: not what save_adapter writes ({error})"
            ) from error
        held = tensors.TensorFile(files.join(path, _WEIGHTS))
        encoder = self._adapted()
        if encoder.lora is None:
            self.enable_lora(wanted[0], wanted[2], wanted[1], verbose)
        elif encoder.lora != wanted:
            raise UserError(
                f"{path}: is of {_settings(wanted)}, the network has "
                f"{_settings(encoder.lora)}; load the network again"
            )
        targets = _named(self)
        for name, variable in targets.items():
            if name not in held:
                raise UserError(
                    f"{held.path}: lacks {name}; it is of another network"
                )
            if tuple(held.shapes[name]) != tuple(variable.shape):
                raise UserError(
                    f"{held.path}: {name} has shape "
                    f"{list(held.shapes[name])}, the network's has "
                    f"{list(variable.shape)}"
                )
        for name, variable in targets.items():
            variable.assign(held[name])

    def quantize(self, mode: str, **options: Any) -> None:
        """Refuses: weights of a network remain floating-point.

        Args:
          mode: a mode such as "int8".
          **options: see Keras.

        Raises:
          UserError: always; it says what to do instead.
        """
        raise UserError(
            f"quantize({mode!r}): the networks keep floating-point weights. "
            "For half the bytes load with dtype='bfloat16', or export with "
            "float16=True; for int8, load with int8=True, or export with "
            "format='tflite', int8=True"
        )


def switch_on(encoder: Any, settings: tuple[int, float, str]) -> None:
    """Freezes a built encoder and creates the factors of its changes.

    Args:
      encoder: an `ElectraEncoder`.
      settings: rank, alpha and targets.
    """
    rank, alpha, targets = settings
    for block in encoder.blocks:
        attention = block.attention
        attention.qkv.lora.enable(
            attention.qkv.kernel, rank, alpha, 3, _QKV[targets]
        )
        others = []
        if targets != "query_value":
            others.append(attention.output_dense)
        if targets == "all":
            others += [block.intermediate, block.output_dense]
        for dense in others:
            dense.lora.enable(dense.kernel, rank, alpha)
    freeze_kernels(encoder)


def changed_kernels(models: Iterable[Any]) -> dict[str, Any]:
    """Returns kernel path -> layer, for kernels that LoRA changes."""
    found = {}
    for model in models:
        encoder = model if hasattr(model, "blocks") else None
        encoder = encoder or getattr(model, "encoder", None)
        if getattr(encoder, "lora", None) is not None:
            found.update({d.kernel.path: d for d in _changed(encoder)})
    return found


def freeze_kernels(encoder: Any) -> None:
    """Freezes all of the encoder except LoRA's changes."""
    if encoder.lora is None:
        return
    for variable in encoder.variables:
        if "lora" not in variable.path.split("/"):
            variable.trainable = False


def _changed(encoder: Any) -> list[Any]:
    """Returns the layers whose kernels change.

    Raises:
      UserError: LoRA is not enabled.
    """
    if encoder.lora is None:
        raise UserError("LoRA is not enabled; call enable_lora(RANK) first")
    found = []
    for block in encoder.blocks:
        attention = block.attention
        found += [
            dense
            for dense in (
                attention.qkv, attention.output_dense,
                block.intermediate, block.output_dense,
            )
            if dense.lora.rank
        ]  # fmt: skip
    return found


def _renew(model: Any) -> None:
    """Makes Keras trace its functions again, as other weights train."""
    for name in ("make_train_function", "make_test_function"):
        make = getattr(model, name, None)
        if make is not None and model.compiled:
            make(force=True)


def _count(variables: Any) -> int:
    return sum(math.prod(v.shape) for v in variables)


def _place(path: str) -> str:
    """Describes the place of a variable in a word or two."""
    parts = path.split("/")
    for place, word in (
        ("lora", "LoRA"), ("task", "head"), ("embeddings", "embeddings"),
    ):  # fmt: skip
        if place in parts:
            return word
    if any(part.startswith("layer_") for part in parts):
        return "blocks"
    return "others"


def _named(model: Any) -> dict[str, keras.Variable]:
    """Returns an adapter's variables by name, relative to the encoder."""
    found = {}
    for variable in model.trainable_variables:
        parts = variable.path.split("/")
        for start in ("encoder", "task"):
            if start in parts:
                parts = parts[parts.index(start) :]
                break
        else:
            parts = parts[1:]
        found["/".join(parts)] = variable
    return found


def _settings(lora: tuple[int, float, str]) -> str:
    return f"rank {lora[0]}, alpha {lora[1]:g}, on {lora[2]}"
