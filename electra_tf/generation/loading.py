"""Loads the networks that score and generate."""

from typing import Any

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.hub import loading, pretrained
from electra_tf.hub.config import DirectoryConfig
from electra_tf.text.tokenizer import Tokenizer

SPECIALS = 2  # [CLS] before a row and [SEP] after it


def describe(path: AnyPath) -> tuple[str, DirectoryConfig]:
    """Reads the config of a model, without weights.

    Args:
      path: see `from_pretrained`.

    Returns:
      The local path, also for a handle, and the model's config.

    Raises:
      UserError: there is no model.
    """
    path = loading.locate(path)
    return path, loading.open_checkpoint(path).config


def has_generator(config: DirectoryConfig) -> bool:
    """Returns whether the model has a token language model."""
    return config.generator is not None and config.token_lm_head


def has_critic(config: DirectoryConfig) -> bool:
    """Returns whether the model has a discriminator like ELECTRA's."""
    return (
        config.discriminator is not None
        and config.replaced_token_head
        and config.task is None
        and config.judges_tokens
    )


def load_generator(path: str, vocab: AnyPath | None = None) -> Any:
    """Loads the token language model at `path`, with its tokenizer.

    Raises:
      UserError: the model has none or it is incomplete, or there is no
        vocabulary.
    """
    config = loading.open_checkpoint(path, vocab=vocab).config
    if config.generator is not None and not config.token_lm_head:
        raise _lacks(path, "its generator's head")
    network = pretrained.Generator.from_pretrained(path, vocab=vocab)
    _check_whole(path, network, "generator")
    return network


def load_discriminator(path: str, vocab: AnyPath | None = None) -> Any:
    """Loads the discriminator at `path`, with its head and tokenizer.

    Raises:
      UserError: the model has none, or no replaced-token head, or no
        vocabulary.
    """
    config = loading.open_checkpoint(path, vocab=vocab).config
    if config.discriminator is not None and not config.replaced_token_head:
        raise _lacks(path, "its discriminator's head")
    network = pretrained.Discriminator.from_pretrained(path, vocab=vocab)
    _check_whole(path, network, "discriminator")
    if network.head is None:
        raise UserError(
            f"{path}: its discriminator predicts tokens and has no "
            "replaced-token head; expected a model pre-trained with "
            "objective.kind=electra"
        )
    return network


def load_critic(path: str, vocab: AnyPath | None = None) -> Any:
    """Loads a discriminator that judges tokens like ELECTRA's.

    Raises:
      UserError: the model has none, or one of Electric's kind.
    """
    network = load_discriminator(path, vocab)
    if network.directory_config.gives_energies:
        raise UserError(
            f"{path}: is an Electric model, whose discriminator gives "
            "energies; name another critic, or give --nocritic"
        )
    return network


def check_reads_masks(path: AnyPath, generator: Any) -> None:
    """Refuses a generator that has never seen [MASK].

    Raises:
      UserError: the generator is a two-tower one.
    """
    if not generator.reads_masked:
        raise UserError(
            f"{path}: has a two-tower generator, which has never seen [MASK]; "
            "expected a model with a masked one (generator.kind=separate)"
        )


def check_same_vocab(path: str, one: Tokenizer, other: Tokenizer) -> None:
    """Refuses two networks that do not read the same token ids.

    Args:
      path: path of the second, for the message.
      one: the first network's.
      other: the second's.

    Raises:
      UserError: their vocabularies, or settings of the tokenizer, differ.
    """
    same = one.vocab.tokens == other.vocab.tokens
    if not same or one.lower_case != other.lower_case:
        raise UserError(
            f"{path}: has another vocabulary than the generator; the critic "
            "must read the same tokens"
        )


def longest(network: Any, max_seq_length: int | None = None) -> int:
    """Returns the longest row, special tokens included, that suits a network.

    It is the row length of pre-training: positions beyond may exist, but are
    untrained.

    Args:
      network: a network from `load_generator` or `load_discriminator`.
      max_seq_length: the user's choice, if any.

    Raises:
      UserError: the model has fewer positions, or there is no room for a token.
    """
    there = network.config.max_positions
    if max_seq_length is None:
        data = (network.directory_config.pretraining or {}).get("data") or {}
        return min(there, data.get("max_seq_length") or there)
    if not SPECIALS < max_seq_length <= there:
        raise UserError(
            f"--max_seq_length={max_seq_length}: expected {SPECIALS + 1} to "
            f"{there}, the model's positions"
        )
    return max_seq_length


def _check_whole(path: str, network: Any, part: str) -> None:
    if network.tokenizer is None:
        raise UserError(
            f"{path}: has no vocabulary beside it; give --vocab=FILE"
        )
    absent = [n for n in network.load_report.new if n.startswith(part)]
    if absent:
        raise _lacks(path, absent[0])


def _lacks(path: str, what: str) -> UserError:
    return UserError(
        f"{path}: lacks {what}, so its output would be random; expected a "
        "pre-trained model that has all of this network"
    )
