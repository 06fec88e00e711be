"""The networks that score and generate, out of a model directory."""

from typing import Any

from electra_tf.errors import UserError
from electra_tf.hub import loading, pretrained
from electra_tf.hub.config import DirectoryConfig
from electra_tf.text.tokenizer import Tokenizer

SPECIALS = 2  # [CLS] before a row and [SEP] after it


def describe(path: str) -> tuple[str, DirectoryConfig]:
    """Returns what is at `path`, before any weights are read.

    Args:
      path: as `from_pretrained` takes it.

    Returns:
      The path, local where it was a handle, and the model's config.

    Raises:
      UserError: no model is there.
    """
    path = loading.locate(path)
    return path, loading.open_checkpoint(path).config


def has_generator(config: DirectoryConfig) -> bool:
    """Returns whether there is a token language model to ask."""
    return config.generator is not None and config.token_lm_head


def has_critic(config: DirectoryConfig) -> bool:
    """Returns whether there is a discriminator that judges as ELECTRA's
    does.
    """
    return (
        config.discriminator is not None
        and config.replaced_token_head
        and config.task is None
        and config.judges_tokens
    )


def load_generator(path: str, vocab: str | None = None) -> Any:
    """Returns the token language model at `path`, with its tokenizer.

    Raises:
      UserError: it has none, or not all of it, or no vocabulary.
    """
    config = loading.open_checkpoint(path, vocab=vocab).config
    if config.generator is not None and not config.token_lm_head:
        raise _lacks(path, "its generator's head")
    network = pretrained.Generator.from_pretrained(path, vocab=vocab)
    _check_whole(path, network, "generator")
    return network


def load_discriminator(path: str, vocab: str | None = None) -> Any:
    """Returns the discriminator at `path`, with its head and its tokenizer.

    Raises:
      UserError: it has none, or no replaced-token head, or no vocabulary.
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


def load_critic(path: str, vocab: str | None = None) -> Any:
    """As `load_discriminator`, of a model that judges as ELECTRA does.

    Raises:
      UserError: it has none, or one of Electric's kind.
    """
    network = load_discriminator(path, vocab)
    if network.directory_config.gives_energies:
        raise UserError(
            f"{path}: is an Electric model, whose discriminator gives "
            "energies; name another critic, or give --nocritic"
        )
    return network


def check_reads_masks(path: str, generator: Any) -> None:
    """Refuses a generator that has never seen [MASK].

    Raises:
      UserError: it is a two-tower one.
    """
    if not generator.reads_masked:
        raise UserError(
            f"{path}: has a two-tower generator, which has never seen [MASK]; "
            "expected a model with a masked one (generator.kind=separate)"
        )


def check_same_vocab(path: str, one: Tokenizer, other: Tokenizer) -> None:
    """Refuses two networks that do not read the same token ids.

    Args:
      path: of the second, for the message.
      one: the first network's.
      other: the second's.

    Raises:
      UserError: their vocabularies, or how they read text, differ.
    """
    same = one.vocab.tokens == other.vocab.tokens
    if not same or one.lower_case != other.lower_case:
        raise UserError(
            f"{path}: has another vocabulary than the generator; the critic "
            "must read the same tokens"
        )


def longest(network: Any, max_seq_length: int | None = None) -> int:
    """Returns tokens, specials included, that a network is best read in.

    A network has seen rows as long as those of its pre-training. Positions
    beyond these may exist, and have learned nothing.

    Args:
      network: out of `load_generator` or `load_discriminator`.
      max_seq_length: what the user asks for, if anything.

    Raises:
      UserError: more than it has positions for, or too few for one token.
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
        f"{path}: lacks {what}, so that what it says would be random; "
        "expected a pre-trained model with this network whole"
    )
