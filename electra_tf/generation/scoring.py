"""How good a model finds sentences, and each of their tokens."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.generation import loading, rows
from electra_tf.hub.config import DirectoryConfig
from electra_tf.text.vocab import Vocab

Method = Literal["auto", "pll", "pll_word", "electric", "replaced"]
METHODS: tuple[Method, ...] = get_args(Method)

# Numbers that a batch's largest tensor has at most: logits, or states.
_LOGITS = 1 << 24
_ROWS_AT_ONCE = 256  # of estimating what Electric leaves out


@dataclasses.dataclass(frozen=True)
class Scored:
    """A text's score: nats, the higher the better.

    Attributes:
      text: as it was given.
      tokens: as the model reads it.
      log_probs: float32 [tokens], the score of each: log-probabilities, which
        of Electric are not quite normalised.
      unknown: how many of the tokens are [UNK]; what these stand for the
        model cannot judge.
    """

    text: str
    tokens: tuple[str, ...]
    log_probs: np.ndarray
    unknown: int

    @property
    def score(self) -> float | None:
        """The sum over the tokens; None of a text that has none."""
        if not self.tokens:
            return None
        return float(self.log_probs.sum(dtype="float64"))

    @property
    def mean(self) -> float | None:
        """The score a token."""
        return None if self.score is None else self.score / len(self.tokens)


class Scorer:
    """Scores texts by one of four methods.

    "pll": the pseudo-log-likelihood (Salazar et al. 2020, equation 1): the sum
    of log p(token | all others) under the generator, which reads the text once
    for each token, with [MASK] in its place. A two-tower generator needs one
    pass for all of them (Clark et al. 2020b, section 2.3).

    "pll_word": the same, with the pieces of the same word that follow the
    token masked too (Kauf and Ivanova 2023): a long word is no more likely
    because its pieces give each other away.

    "electric": minus the sum of the energies that an Electric model's
    discriminator gives, in one pass (Clark et al. 2020b, equation 5).

    "replaced": the sum of log p(token is original) under a discriminator, in
    one pass. It judges each token in the presence of the others' mistakes.

    A text that is longer than what the model reads at once is read in
    overlapping windows; each token is scored in the one where it is nearest
    to the middle.

    Attributes:
      method: the one that is used.
      network: the generator or the discriminator.
      tokenizer: the model's.
      max_length: tokens read at once, specials included.
    """

    def __init__(
        self,
        network: Any,
        method: Literal["pll", "pll_word", "electric", "replaced"],
        *,
        max_seq_length: int | None = None,
        batch_tokens: int = 8192,
    ):
        """Takes a network out of `generation.loading`.

        Args:
          network: a generator for pll and pll_word, a discriminator for the
            other two.
          method: how to score.
          max_seq_length: tokens read at once, specials included; None for
            those of the model's pre-training.
          batch_tokens: about how many at once; scores depend on it in their
            last digits alone.

        Raises:
          UserError: `max_seq_length` does not fit the model.
        """
        self.method = method
        self.network = network
        self.tokenizer = network.tokenizer
        self.max_length = loading.longest(network, max_seq_length)
        self._batch_tokens = batch_tokens
        self._of_generator = method in ("pll", "pll_word")
        self._masked = self._of_generator and network.reads_masked
        matrix = tf.TensorSpec([None, None], tf.int32)
        self._token_log_probs = tf.function(
            functools.partial(_token_log_probs, network),
            input_signature=[matrix] * 4,
            autograph=False,
        )
        head = _energy if method == "electric" else _original
        self._judged = tf.function(
            functools.partial(head, network),
            input_signature=[matrix] * 2,
            autograph=False,
        )

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        method: Method = "auto",
        *,
        vocab: str | None = None,
        max_seq_length: int | None = None,
        batch_tokens: int = 8192,
    ) -> "Scorer":
        """Loads the network that a method needs.

        Args:
          path: a run, a model directory, a checkpoint of another format, or
            a handle.
          method: "auto" takes electric where the model was trained so, else
            pll where there is a generator, else replaced.
          vocab: a vocabulary file, where there is none beside the model.
          max_seq_length: as the constructor's, and
          batch_tokens: so this.

        Raises:
          UserError: no such model, or without what the method needs.
        """
        path, config = loading.describe(path)
        method = choose_method(path, config, method)
        load = loading.load_discriminator
        if method in ("pll", "pll_word"):
            load = loading.load_generator
        network = load(path, vocab)
        if method == "pll_word" and not network.reads_masked:
            raise UserError(
                f"--method=pll_word: {path} has a two-tower generator, which "
                "reads no [MASK]; use --method=pll"
            )
        return cls(
            network,
            method,
            max_seq_length=max_seq_length,
            batch_tokens=batch_tokens,
        )

    def score(self, texts: Sequence[str]) -> list[Scored]:
        """Scores texts, in order.

        Args:
          texts: any number; one without tokens, such as "", has no score.
        """
        texts = list(texts)
        if not texts:
            return []
        found = self.score_ids(self.tokenizer(texts).to_list())
        vocab = self.tokenizer.vocab
        return [
            Scored(
                text,
                tuple(vocab.tokens[i] for i in ids),
                log_probs,
                ids.count(vocab.unk_id),
            )
            for text, (ids, log_probs) in zip(texts, found)
        ]

    def score_ids(
        self, texts: Sequence[Sequence[int]]
    ) -> list[tuple[list[int], np.ndarray]]:
        """Scores texts that are token ids already.

        Args:
          texts: ids without [CLS] and [SEP].

        Returns:
          For each text its ids, and float32 [tokens], the score of each.
        """
        lists = [list(ids) for ids in texts]
        found = [np.zeros([len(ids)], "float32") for ids in lists]
        room = self.max_length - loading.SPECIALS
        read, targets = [], []
        vocab = self.tokenizer.vocab
        for ids, scores in zip(lists, found):
            for window in rows.windows(len(ids), room):
                part = ids[window.start : window.end]
                read.append([vocab.cls_id, *part, vocab.sep_id])
                targets.append(_Target(window, scores))
        if self._masked:
            self._mask_each(read, targets)
        else:
            self._read_once(read, targets)
        return list(zip(lists, found))

    def _mask_each(self, read: list[list[int]], targets: "_Targets") -> None:
        """A pass for each token, with [MASK] in its place."""
        which: list[int] = []
        places: list[int] = []  # of the token, in the row with [CLS]
        for number, (window, _) in enumerate(targets):
            for token in range(window.first, window.last):
                which.append(number)
                places.append(1 + token - window.start)
        place = np.array(places, "int64")
        ends = place + 1
        if self.method == "pll_word":
            ends = np.array(
                [
                    _word_end(read[number], here, self._vocab)
                    for number, here in zip(which, places)
                ],
                "int64",
            )
        size = self.network.config.vocab_size
        for batch in rows.batches(
            read,
            which,
            self._batch_tokens,
            self.max_length,
            max_rows=max(1, min(256, _LOGITS // size)),
        ):
            here, end = place[batch.rows], ends[batch.rows]
            labels = np.take_along_axis(batch.input_ids, here[:, None], 1)
            column = np.arange(batch.input_ids.shape[1])
            masked = (column >= here[:, None]) & (column < end[:, None])
            ids = np.where(masked, self._vocab.mask_id, batch.input_ids)
            scores = self._token_log_probs(
                ids.astype("int32"),
                batch.input_mask,
                here[:, None].astype("int32"),
                labels,
            ).numpy()[:, 0]
            for row, p, score in zip(batch.rows, here, scores):
                window, into = targets[which[row]]
                into[window.start + p - 1] = score

    def _read_once(self, read: list[list[int]], targets: "_Targets") -> None:
        """One pass for all tokens of a row."""
        at_once = self._batch_tokens
        if self._of_generator:
            at_once = min(at_once, _LOGITS // self.network.config.vocab_size)
        for batch in rows.batches(
            read, range(len(read)), at_once, self.max_length
        ):
            if self._of_generator:
                place = np.broadcast_to(
                    np.arange(batch.input_ids.shape[1], dtype="int32"),
                    batch.input_ids.shape,
                )
                scores = self._token_log_probs(
                    batch.input_ids, batch.input_mask, place, batch.input_ids
                ).numpy()
            else:
                scores = self._judged(*batch[1:]).numpy()
            for row, score in zip(batch.rows, scores):
                window, into = targets[row]
                shift = 1 - window.start
                into[window.first : window.last] = score[
                    window.first + shift : window.last + shift
                ]

    @property
    def _vocab(self) -> Vocab:
        return self.tokenizer.vocab


class _Target(NamedTuple):
    window: rows.Window
    scores: np.ndarray  # float32 [tokens of the text], where results go


_Targets = list[_Target]


def choose_method(path: str, config: DirectoryConfig, method: Method) -> str:
    """The method that "auto" stands for, or the one asked for if it can be.

    Args:
      path: of the model, for messages.
      config: what it is.
      method: what was asked for.

    Raises:
      UserError: the model was not trained for the method.
    """
    if method not in METHODS:
        raise UserError(
            f"--method={method}: expected one of {', '.join(METHODS)}"
        )
    objective = loading.objective(config)
    if method == "auto":
        if objective == "electric":
            return "electric"
        return "pll" if loading.has_generator(config) else "replaced"
    if method == "electric" and objective != "electric":
        raise UserError(
            f"--method=electric: {path} was not pre-trained with "
            "objective.kind=electric; use --method=pll or replaced"
        )
    if method == "replaced" and objective == "electric":
        raise UserError(
            f"--method=replaced: {path} is an Electric model, whose "
            "discriminator gives energies; use --method=electric"
        )
    return method


def _token_log_probs(
    network: Any,
    input_ids: tf.Tensor,
    input_mask: tf.Tensor,
    positions: tf.Tensor,
    labels: tf.Tensor,
) -> tf.Tensor:
    """[B, N] float32, log p(label) at each of the positions [B, N]."""
    logits = network(
        input_ids, input_mask, positions=positions, training=False
    ).logits  # [B, N, V]
    chosen = tf.gather(logits, labels, batch_dims=2)
    return chosen - tf.reduce_logsumexp(logits, axis=-1)


def _energy(
    network: Any, input_ids: tf.Tensor, input_mask: tf.Tensor
) -> tf.Tensor:
    """[B, L] float32, minus the energies: unnormalised log-probabilities.

    Electric's logit of "noise" is energy + log q(token) + log odds
    (equations 3 and 4); the head itself gives the energy.
    """
    return -network(input_ids, input_mask, training=False).logits


def _original(
    network: Any, input_ids: tf.Tensor, input_mask: tf.Tensor
) -> tf.Tensor:
    """[B, L] float32, log p(the token was not replaced)."""
    logits = network(input_ids, input_mask, training=False).logits
    return tf.math.log_sigmoid(-logits)


def _word_end(row: Sequence[int], place: int, vocab: Vocab) -> int:
    """Where the word ends that the token at `place` is of."""
    end = place + 1
    while end < len(row) and vocab.continues[row[end]]:
        end += 1
    return end


class NormalizedScorer:
    """log p(token | context) of Electric, with an estimate of Z.

    Electric models p(token | context) as exp(-energy) / Z(context), and its
    training drives Z towards 1 (Clark et al. 2020b, sections 2.1 and 2.3).
    `Scorer` takes it to be 1, in one pass. Here Z is estimated, with many.

    Z = E over q of exp(-energy) / q, q the noise distribution that the
    two-tower generator gives for the token's place. The expectation is a mean
    over tokens that stand at even steps of q's cumulative distribution, half
    a step off its ends: no random numbers, and less variance than with them.

    Attributes:
      num_candidates: tokens of the vocabulary that Z is estimated from, and
        so passes for each token of a text.
      max_length: tokens of a text that are read, specials included.
    """

    def __init__(
        self, path: str, num_candidates: int = 16, vocab: str | None = None
    ):
        """Loads both networks of an Electric model.

        Args:
          path: as `Scorer.from_pretrained` takes it.
          num_candidates: the more, the better the estimate.
          vocab: a vocabulary file, where there is none beside the model.

        Raises:
          UserError: no Electric model with its two-tower generator.
        """
        path, config = loading.describe(path)
        if loading.objective(config) != "electric":
            raise UserError(
                f"{path}: was not pre-trained with objective.kind=electric"
            )
        self.num_candidates = num_candidates
        self._noise: Any = loading.load_generator(path, vocab)
        self._network: Any = loading.load_discriminator(path, vocab)
        self.tokenizer = self._network.tokenizer
        self.max_length = loading.longest(self._network)
        matrix = tf.TensorSpec([None, None], tf.int32)
        self._log_q = tf.function(
            lambda ids, mask: tf.nn.log_softmax(
                self._noise(ids, mask, training=False).logits
            ),
            input_signature=[matrix] * 2,
            autograph=False,
        )
        self._energies = tf.function(
            lambda ids, mask: self._network(ids, mask, training=False).logits,
            input_signature=[matrix] * 2,
            autograph=False,
        )

    def score(self, texts: Sequence[str]) -> list[np.ndarray]:
        """float32 [tokens] log-probabilities of each text's tokens.

        Raises:
          UserError: a text is longer than what the model reads at once.
        """
        vocab = self.tokenizer.vocab
        room = self.max_length - loading.SPECIALS
        found = []
        for number, ids in enumerate(self.tokenizer(list(texts)).to_list(), 1):
            if len(ids) > room:
                raise UserError(
                    f"text {number}: {len(ids)} tokens, and the model reads "
                    f"{room} at once"
                )
            found.append(self._score([vocab.cls_id, *ids, vocab.sep_id]))
        return found

    def _score(self, row: list[int]) -> np.ndarray:
        """[tokens] of a row with [CLS] and [SEP]."""
        length = rows.padded_length(len(row), self.max_length)
        batch = rows.padded([row], np.zeros([1], "int64"), length)
        count = len(row) - loading.SPECIALS
        places = 1 + np.arange(count)
        log_q = self._log_q(*batch[1:]).numpy()[0, 1 : 1 + count]  # [n, V]
        energy = self._energies(*batch[1:]).numpy()[0, 1 : 1 + count]
        tokens = _even_steps(log_q, self.num_candidates)  # [n, K]
        # A row for each place and candidate, with the candidate there.
        place = np.repeat(places, self.num_candidates)
        log_weights = np.empty([len(place)])
        for start in range(0, len(place), _ROWS_AT_ONCE):
            here = place[start : start + _ROWS_AT_ONCE]
            each = np.arange(len(here))
            ids = np.repeat(batch.input_ids, len(here), 0)
            ids[each, here] = tokens.ravel()[start : start + _ROWS_AT_ONCE]
            mask = np.repeat(batch.input_mask, len(here), 0)
            there = self._energies(ids, mask).numpy()
            log_weights[start : start + _ROWS_AT_ONCE] = -there[each, here]
        log_weights = log_weights.reshape(tokens.shape)
        log_weights -= np.take_along_axis(log_q, tokens, 1)
        log_z = np.logaddexp.reduce(log_weights, axis=1)
        log_z -= np.log(self.num_candidates)
        return (-energy - log_z).astype("float32")


def _even_steps(log_q: np.ndarray, count: int) -> np.ndarray:
    """[n, V] log-probabilities -> [n, count] tokens at even steps of them."""
    cumulative = np.cumsum(np.exp(log_q.astype("float64")), axis=1)
    steps = (np.arange(count) + 0.5) / count
    found = [np.searchsorted(c, steps * c[-1]) for c in cumulative]
    return np.array(found, "int64").reshape(-1, count)
