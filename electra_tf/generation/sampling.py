"""Samples texts from a masked language model, helped by a critic."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.generation import loading, rows, writing
from electra_tf.generation.settings import Draw, SampleConfig
from electra_tf.models import randomness
from electra_tf.text import detokenize
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab

# Rows in a batch, and largest size of their logits. Batches are always full, so
# that a row's values do not depend on the number of samples.
_ROWS, _LOGITS = 32, 1 << 25
# Salt of a sample's key for the choice of places; those of tokens begin at 0.
_CHOICES = 1_000_003


class Sample(NamedTuple):
    """One sampled text."""

    text: str  # the given prompt, and the sampled text
    continuation: str  # the sampled text only
    tokens: tuple[str, ...]  # of the continuation


class _SampleTask(NamedTuple):
    """One sample to be generated."""

    prompt: list[int]  # token ids
    number: int  # number of the sample for its prompt


@dataclasses.dataclass
class _SampleRows:
    """Rows that are being generated.

    Attributes:
      ids: int32 [B, L].
      mask: int32 [B, L].
      first: int32 [B], where the places to sample begin.
      length: N, number of places in a row.
      keys: random keys, uint32 [B].
      draws: number of sampling passes so far.
    """

    ids: np.ndarray
    mask: np.ndarray
    first: np.ndarray
    length: int
    keys: tf.Tensor
    draws: int = 0

    @classmethod
    def of(
        cls,
        tasks: Sequence[_SampleTask],
        some: np.ndarray,
        padded: rows.Batch,
        length: int,
        seed: int,
    ) -> "_SampleRows":
        """Makes rows for tasks, with nothing sampled yet."""
        chosen = [tasks[i] for i in np.resize(some, len(padded.input_ids))]
        first = [1 + len(task.prompt) for task in chosen]
        numbers = tf.constant([task.number for task in chosen], tf.int64)
        return cls(
            padded.input_ids,
            padded.input_mask,
            np.array(first, "int32"),
            length,
            randomness.example_keys(numbers, seed),
        )

    @property
    def all_places(self) -> np.ndarray:
        """The positions of all places, int32 [B, N]."""
        return self.first[:, None] + np.arange(self.length, dtype="int32")

    @property
    def written(self) -> np.ndarray:
        """The tokens at all places, int32 [B, N]."""
        return np.take_along_axis(self.ids, self.all_places, axis=1)

    def uniform(self, salt: int, count: int) -> np.ndarray:
        """Returns random numbers in [0, 1), float32 [B, count]."""
        keys = randomness.salted(self.keys, salt)
        return randomness.uniform(keys, count).numpy()


class Sampler:
    """Samples texts that begin with a prompt.

    The same seed gives the same samples, one by one: sample 7 of 10 is sample 7
    of 100. Special tokens and [UNK] are never sampled, and pieces ("##ing")
    only where they continue a word.

    Attributes:
      generator: the network.
      tokenizer: the model's.
      max_length: tokens that the model reads at once, special ones included.
    """

    def __init__(
        self,
        generator: Any,
        critic: Any | None = None,
        *,
        max_seq_length: int | None = None,
    ):
        """Takes networks of `generation.loading`.

        Args:
          generator: a generator that reads [MASK].
          critic: a discriminator with the same vocabulary, if any.
          max_seq_length: tokens read at once, special ones included; None takes
            the length of the generator's pre-training, or the critic's
            positions where these are fewer.

        Raises:
          UserError: a network has fewer positions than `max_seq_length`.
        """
        self.generator = generator
        self.tokenizer = generator.tokenizer
        self.max_length = loading.longest(generator, max_seq_length)
        if critic is not None:
            there = critic.config.max_positions
            if max_seq_length is not None and there < max_seq_length:
                raise UserError(
                    f"--max_seq_length={max_seq_length}: the generator has "
                    f"{generator.config.max_positions} positions, but the "
                    f"critic {there}; give at most {there}, or another "
                    "--critic_model"
                )
            self.max_length = min(self.max_length, there)
        self._writer = writing.Writer(generator, self.tokenizer.vocab)
        self._critic = critic
        matrix = tf.TensorSpec([None, None], tf.int32)
        self._suspicion = tf.function(
            functools.partial(_suspicion, critic),
            input_signature=[matrix] * 2,
            autograph=False,
        )

    @classmethod
    def from_pretrained(
        cls,
        path: AnyPath,
        *,
        critic: bool | str = True,
        vocab: AnyPath | None = None,
        max_seq_length: int | None = None,
    ) -> "Sampler":
        """Loads a generator, and a discriminator to judge its samples.

        Args:
          path: a run, a model directory, a checkpoint of another format, or
            a handle.
          critic: whether to load the discriminator too; or the path of another
            one.
          vocab: a vocabulary file, where there is none beside the model.
          max_seq_length: see the constructor.

        Raises:
          UserError: the model is missing, or has no generator for this.
        """
        path, _ = loading.describe(path)
        generator = loading.load_generator(path, vocab)
        loading.check_reads_masks(path, generator)
        judge = None
        if critic:
            where = path
            if isinstance(critic, str):
                where, _ = loading.describe(critic)
            judge = loading.load_critic(where, vocab)
            loading.check_same_vocab(
                where, generator.tokenizer, judge.tokenizer
            )
        return cls(generator, judge, max_seq_length=max_seq_length)

    def sample(
        self,
        prompts: Sequence[str],
        length: int,
        num_samples: int = 1,
        config: SampleConfig | None = None,
        seed: int = 0,
        counts: Mapping[str, int] | None = None,
    ) -> list[list[Sample]]:
        """Samples `num_samples` texts for each prompt.

        Args:
          prompts: beginnings of the texts; "" for none. Of a prompt that is too
            long for the model, the end is read.
          length: number of tokens to sample after the prompt.
          num_samples: number of samples for each prompt; 0 gives empty lists.
          config: settings of sampling; None takes the defaults.
          seed: any integer.
          counts: token -> how often it occurs, for the method unigram.

        Returns:
          The samples of each prompt.

        Raises:
          UserError: there are more tokens than the model reads at once, or the
            critic or counts are missing.
        """
        config = config or SampleConfig()
        self._check(length, num_samples, config, counts)
        tasks = self._tasks(prompts, length, num_samples)
        written = np.zeros([len(tasks), length], "int64")
        if config.method == "unigram":
            table = _Unigrams(self.tokenizer.vocab, counts or {})
            written = table.draw([t.number for t in tasks], length, seed)
        elif tasks:
            for some, ids in self._batches(tasks, length):
                batch = _SampleRows.of(tasks, some, ids, length, seed)
                getattr(self, f"_{config.method}")(batch, config)
                self._repair(batch, config.draw)
                written[some] = batch.written[: len(some)]
        samples = iter(written.tolist())
        return [
            [self._read(prompt, next(samples)) for _ in range(num_samples)]
            for prompt in prompts
        ]

    def cut(self, prompt: str, length: int) -> str | None:
        """Describes the part of a prompt that is not read, or returns None.

        It also returns None for a `length` that is too long anyway.
        """
        room = self.prompt_room(length)
        found = len(self.tokenizer([prompt]).to_list()[0])
        if found <= room or room < 0:
            return None
        return (
            f"has {found} tokens; to leave room for the {length} to sample, "
            f"only the last {room} are read"
        )

    def prompt_room(self, length: int) -> int:
        """Returns how many tokens of a prompt are read for a `length`."""
        return self.max_length - loading.SPECIALS - length

    def _check(
        self,
        length: int,
        num_samples: int,
        config: SampleConfig,
        counts: Mapping[str, int] | None,
    ) -> None:
        if num_samples < 0:
            raise UserError(f"--num_samples={num_samples}: expected 0 or above")
        most = self.max_length - loading.SPECIALS
        if not 1 <= length <= most:
            raise UserError(
                f"--length={length}: expected 1 to {most}, the tokens that "
                f"the model{' and its critic' * bool(self._critic)} can read "
                "at once"
            )
        if config.uses_critic and self._critic is None:
            raise UserError(
                "--critic: no discriminator was loaded; give one, or --nocritic"
            )
        if config.method == "unigram" and not counts:
            raise UserError(
                "--method=unigram: needs a text to count words in; give "
                "--counts_from=FILE"
            )

    def _tasks(
        self, prompts: Sequence[str], length: int, num_samples: int
    ) -> list[_SampleTask]:
        if not prompts:
            return []
        room = self.prompt_room(length)
        tasks = []
        for ids in self.tokenizer(list(prompts)).to_list():
            ids = ids[max(0, len(ids) - room) :]
            tasks += [_SampleTask(ids, number) for number in range(num_samples)]
        return tasks

    def _batches(
        self, tasks: list[_SampleTask], length: int
    ) -> Iterator[tuple[np.ndarray, rows.Batch]]:
        """Yields batches of tasks with rows of one padded length."""
        vocab = self.tokenizer.vocab
        size = self.generator.config.vocab_size
        count = max(1, min(_ROWS, _LOGITS // (size * length)))
        whole = [
            [vocab.cls_id, *t.prompt, *[vocab.mask_id] * length, vocab.sep_id]
            for t in tasks
        ]
        lengths = np.array(
            [rows.padded_length(len(row), self.max_length) for row in whole]
        )
        for padded in np.unique(lengths):
            chosen = np.flatnonzero(lengths == padded)
            for start in range(0, len(chosen), count):
                some = chosen[start : start + count]
                filled = np.resize(some, count)  # repeats are discarded
                yield some, rows.padded(whole, filled, int(padded))

    def _one_shot(self, batch: _SampleRows, config: SampleConfig) -> None:
        """Samples all places at once."""
        self._write(batch, batch.all_places, config.draw)

    def _mask_predict(self, batch: _SampleRows, config: SampleConfig) -> None:
        """Samples all places, then resamples the least probable ones."""
        length, total = batch.length, config.iterations
        sure = self._write(batch, batch.all_places, config.draw)
        for iteration in range(1, total):
            # Ghazvininejad et al. 2019, section 3.1: n = N (T - t) / T.
            count = length * (total - iteration) // total
            if not count:
                break
            if config.uses_critic:
                sure = -self._judge(batch)
            chosen = np.argsort(sure, axis=1, kind="stable")[:, :count]
            log_probs = self._write(
                batch, batch.first[:, None] + chosen, config.draw
            )
            np.put_along_axis(sure, chosen, log_probs, axis=1)

    def _gibbs(self, batch: _SampleRows, config: SampleConfig) -> None:
        """Samples all places, then resamples one after another."""
        self._write(batch, batch.all_places, config.draw)
        for sweep in range(config.iterations):
            chance = batch.uniform(_CHOICES + sweep, batch.length)
            order = np.argsort(chance, axis=1, kind="stable")
            for step in range(batch.length):
                place = order[:, step : step + 1]
                if config.uses_critic:
                    # In proportion to p(replaced).
                    odds = 1 / (1 + np.exp(-self._judge(batch)))
                    total = np.cumsum(odds, axis=1)
                    target = chance[:, step : step + 1] * total[:, -1:]
                    place = (total <= target).sum(axis=1, keepdims=True)
                    place = np.minimum(place, batch.length - 1)
                self._write(batch, batch.first[:, None] + place, config.draw)

    def _repair(self, batch: _SampleRows, how: Draw) -> None:
        """Resamples pieces that have no word to continue, from the left."""
        never = np.zeros(
            [len(batch.ids)], bool
        )  # a word of the prompt is not changed
        for _ in range(batch.length):
            broken = self._writer.pieces.broken(batch.written, never)
            if not broken.any():
                return
            place = np.argmax(broken, axis=1)
            kept = batch.ids.copy()
            where = (batch.first + place)[:, None]
            self._write(batch, where, how, whole_from=where[:, 0])
            whole = ~broken.any(axis=1)
            batch.ids[whole] = kept[whole]

    def _write(
        self,
        batch: _SampleRows,
        places: np.ndarray,
        how: Draw,
        whole_from: np.ndarray | None = None,
    ) -> np.ndarray:
        """Samples the places [B, K]; returns log-probabilities, [B, K]."""
        uniform = batch.uniform(batch.draws, places.shape[1])
        batch.draws += 1
        written = self._writer.write(
            batch.ids,
            batch.mask,
            places.astype("int32"),
            batch.first if whole_from is None else whole_from.astype("int32"),
            uniform,
            how,
        )
        batch.ids = written.input_ids.numpy()
        return written.log_probs.numpy()

    def _judge(self, batch: _SampleRows) -> np.ndarray:
        """Returns the critic's logits of the places, [B, N]: above 0,
        replaced.
        """
        logits = self._suspicion(batch.ids, batch.mask).numpy()
        return np.take_along_axis(logits, batch.all_places, axis=1)

    def _read(self, prompt: str, ids: list[int]) -> Sample:
        """Joins a sample to the user's prompt as text."""
        vocab = self.tokenizer.vocab
        tokens = tuple(vocab.tokens[i] for i in ids)
        before = [
            vocab.tokens[i] for i in self.tokenizer([prompt]).to_list()[0]
        ]
        head = detokenize.join(before)
        whole = detokenize.join([*before, *tokens])
        if prompt.strip() and whole.startswith(head):
            text = prompt.rstrip() + whole[len(head) :]
        else:
            text = whole
        return Sample(text, detokenize.join(tokens), tokens)


def count_words(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """Counts each token in texts."""
    found: Counter[int] = Counter()
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == 1024:
            found.update(tokenizer(batch).flat_values.numpy().tolist())
            batch = []
    if batch:
        found.update(tokenizer(batch).flat_values.numpy().tolist())
    return Counter({tokenizer.vocab.tokens[i]: n for i, n in found.items()})


class _Unigrams:
    """Samples tokens by their counts, pieces only after words."""

    def __init__(self, vocab: Vocab, counts: Mapping[str, int]):
        """Takes the counts of tokens that may be sampled.

        Raises:
          UserError: no such token has a count.
        """
        self._pieces = writing.Pieces(vocab, len(vocab))
        weights = np.array([counts.get(t, 0) for t in vocab.tokens], "float64")
        weights[self._pieces.banned] = 0
        whole = np.where(self._pieces.continues, 0, weights)
        if not whole.sum():
            raise UserError(
                "--counts_from: has no word that the model can write"
            )
        self._any, self._whole = np.cumsum(weights), np.cumsum(whole)

    def draw(
        self, numbers: Sequence[int], length: int, seed: int
    ) -> np.ndarray:
        """Samples token ids, int64 [samples, length].

        Args:
          numbers: numbers of the samples.
          length: number of tokens in each.
          seed: any integer.
        """
        found = np.zeros([len(numbers), length], "int64")
        if not len(numbers):
            return found
        keys = randomness.example_keys(tf.constant(numbers, tf.int64), seed)
        uniform = randomness.uniform(keys, length).numpy()
        carried = np.zeros([len(numbers)], bool)
        for i in range(length):
            for may_continue, table in ((0, self._whole), (1, self._any)):
                here = carried == bool(may_continue)
                found[here, i] = np.searchsorted(
                    table, uniform[here, i] * table[-1], side="right"
                )
            carried = self._pieces.carries[found[:, i]]
        return found


def _suspicion(
    critic: Any, input_ids: tf.Tensor, input_mask: tf.Tensor
) -> tf.Tensor:
    """Returns the critic's logits, [B, L] float32: above 0, replaced."""
    return critic(input_ids, input_mask, training=False).logits
