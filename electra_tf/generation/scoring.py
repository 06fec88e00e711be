"""Scores sentences and tokens by a model, and reranks n-best lists."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.generation import loading, rows
from electra_tf.hub.config import DirectoryConfig
from electra_tf.models import products
from electra_tf.text import numerals
from electra_tf.text.vocab import Vocab

Method = Literal["auto", "pll", "pll_word", "electric", "replaced"]
Chosen = Literal["pll", "pll_word", "electric", "replaced"]
METHODS: tuple[Method, ...] = get_args(Method)

# Largest size of a batch's largest tensor: logits, or states.
_LOGITS = 1 << 24


@dataclasses.dataclass(frozen=True)
class Scored:
    """A text's score in nats, higher is better.

    Attributes:
      text: the given text.
      tokens: its tokens.
      log_probs: float32 [tokens], the score of each: log-probabilities, which
        for Electric are not exactly normalised.
      unknown: number of [UNK] tokens, which the model cannot judge.
    """

    text: str
    tokens: tuple[str, ...]
    log_probs: np.ndarray
    unknown: int

    @property
    def score(self) -> float | None:
        """The sum over the tokens; None for a text without tokens."""
        if not self.tokens:
            return None
        return float(self.log_probs.sum(dtype="float64"))

    @property
    def mean(self) -> float | None:
        """The mean score per token."""
        return None if self.score is None else self.score / len(self.tokens)


class Scorer:
    """Scores texts by one of four methods.

    "pll": the pseudo-log-likelihood (Salazar et al. 2020, equation 1): the sum
    of log p(token | all others) under the generator, which reads the text once
    for each token, with [MASK] in its place. A two-tower generator needs one
    pass for all of them (Clark et al. 2020b, section 2.3).

    "pll_word": the same, with the pieces of the same word that follow the
    token masked too (Kauf and Ivanova 2023): a long word is not more probable
    because its pieces predict each other.

    "electric": minus the sum of the energies that an Electric model's
    discriminator gives, in one pass (Clark et al. 2020b, equation 5).

    "replaced": the sum of log p(token is original) under a discriminator, in
    one pass. It judges each token in the context of the others' mistakes.

    A text that is too long for the model is read in overlapping windows; each
    token is scored in the window where it is nearest to the middle.

    Attributes:
      method: the scoring method.
      network: the generator or the discriminator.
      tokenizer: the model's tokenizer.
      max_length: tokens read at once, special ones included.
    """

    def __init__(
        self,
        network: Any,
        method: Chosen,
        *,
        max_seq_length: int | None = None,
        batch_tokens: int = 8192,
        bfloat16: bool = False,
    ):
        """Takes a network of `generation.loading`.

        Args:
          network: a generator for pll and pll_word, a discriminator for the
            other two.
          method: the scoring method.
          max_seq_length: tokens read at once, special ones included; None takes
            the length of pre-training.
          batch_tokens: approximate tokens in a batch; scores depend on it only
            in their last digits.
          bfloat16: whether to round the factors of large matrix products;
            faster on CPUs with instructions for it, and scores differ in the
            third digit.

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
            functools.partial(_token_log_probs, network, bfloat16),
            input_signature=[matrix] * 4,
            autograph=False,
        )
        head = _energy if method == "electric" else _original
        self._judged = tf.function(
            functools.partial(head, network, bfloat16),
            input_signature=[matrix] * 2,
            autograph=False,
        )

    @classmethod
    def from_pretrained(
        cls,
        path: AnyPath,
        method: Method = "auto",
        *,
        vocab: AnyPath | None = None,
        max_seq_length: int | None = None,
        batch_tokens: int = 8192,
        bfloat16: bool = False,
    ) -> "Scorer":
        """Loads the network that a method needs.

        Args:
          path: a run, a model directory, a checkpoint of another format, or
            a handle.
          method: the method; "auto" is electric for a model of that objective,
            else pll if there is a generator, else replaced.
          vocab: a vocabulary file, where there is none beside the model.
          max_seq_length: see the constructor.
          batch_tokens: see the constructor.
          bfloat16: see the constructor.

        Raises:
          UserError: the model is missing, or does not support the method.
        """
        path, config = loading.describe(path)
        chosen = choose_method(path, config, method)
        load = loading.load_discriminator
        if chosen in ("pll", "pll_word"):
            load = loading.load_generator
        network = load(path, vocab)
        if chosen == "pll_word" and not network.reads_masked:
            raise UserError(
                f"--method=pll_word: {path} has a two-tower generator, which "
                "reads no [MASK]; use --method=pll"
            )
        return cls(
            network,
            chosen,
            max_seq_length=max_seq_length,
            batch_tokens=batch_tokens,
            bfloat16=bfloat16,
        )

    def score(self, texts: Sequence[str]) -> list[Scored]:
        """Scores texts, in order.

        Args:
          texts: the texts; one without tokens, such as "", has no score.
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
        """Scores texts given as token ids.

        Args:
          texts: ids without [CLS] and [SEP].

        Returns:
          For each text its ids, and the score of each token, float32 [tokens].
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
        """Scores by one pass for each token, with [MASK] in its place."""
        which: list[int] = []
        places: list[int] = []  # position of the token, in the row with [CLS]
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
        """Scores all tokens of a row in one pass."""
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
    scores: np.ndarray  # float32 [tokens of the text], the results


_Targets = list[_Target]


def choose_method(path: str, config: DirectoryConfig, method: Method) -> Chosen:
    """Chooses the method for "auto", or checks the given one.

    Args:
      path: path of the model, for messages.
      config: config of the model.
      method: the given method.

    Raises:
      UserError: the model was not trained for the method.
    """
    if method not in METHODS:
        raise UserError(
            f"--method={method}: expected one of {', '.join(METHODS)}"
        )
    if method == "auto":
        if config.gives_energies:
            return "electric"
        return "pll" if loading.has_generator(config) else "replaced"
    if method == "electric" and not config.gives_energies:
        raise UserError(
            f"--method=electric: {path} was not pre-trained with "
            "objective.kind=electric; use --method=pll or replaced"
        )
    if method == "replaced" and config.gives_energies:
        raise UserError(
            f"--method=replaced: {path} is an Electric model, whose "
            "discriminator gives energies; use --method=electric"
        )
    return method


def _token_log_probs(
    network: Any,
    bfloat16: bool,
    input_ids: tf.Tensor,
    input_mask: tf.Tensor,
    positions: tf.Tensor,
    labels: tf.Tensor,
) -> tf.Tensor:
    """Returns log p(label) at each of the positions [B, N], float32 [B, N]."""
    with products.in_bfloat16(bfloat16):
        logits = network(
            input_ids, input_mask, positions=positions, training=False
        ).logits  # [B, N, V]
    chosen = tf.gather(logits, labels, batch_dims=2)
    return chosen - tf.reduce_logsumexp(logits, axis=-1)


def _energy(
    network: Any, bfloat16: bool, input_ids: tf.Tensor, input_mask: tf.Tensor
) -> tf.Tensor:
    """Returns minus the energies: unnormalised log-probabilities, [B, L].

    Electric's logit of "noise" is energy + log q(token) + log odds
    (equations 3 and 4); the head itself gives the energy.
    """
    with products.in_bfloat16(bfloat16):
        return -network(input_ids, input_mask, training=False).logits


def _original(
    network: Any, bfloat16: bool, input_ids: tf.Tensor, input_mask: tf.Tensor
) -> tf.Tensor:
    """Returns log p(the token was not replaced), [B, L] float32."""
    with products.in_bfloat16(bfloat16):
        logits = network(input_ids, input_mask, training=False).logits
    return tf.math.log_sigmoid(-logits)


def _word_end(row: Sequence[int], place: int, vocab: Vocab) -> int:
    """Returns the end of the word that contains the token at `place`."""
    end = place + 1
    while end < len(row) and vocab.continues[row[end]]:
        end += 1
    return end


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One candidate of a recogniser or translator.

    Attributes:
      list_id: id of the utterance or sentence.
      text: the candidate's text.
      other: its given score; higher is better.
      line: its line in the file, for messages.
    """

    list_id: str
    text: str
    other: float | None = None
    line: int = 0


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A candidate with its rank.

    Attributes:
      candidate: the candidate.
      rank: 1 is the best.
      score: the model's score; None for a text without tokens.
      total: the score for the order; None like `score`.
    """

    candidate: Candidate
    rank: int
    score: float | None
    total: float | None


def parse_candidate(line: str, number: int, source: str) -> Candidate | None:
    """Parses a line of an n-best file: id, candidate, optional score, by tabs.

    Args:
      line: the line without its line feed.
      number: its number, from 1.
      source: the file, for messages.

    Returns:
      The candidate; None for an empty line.

    Raises:
      UserError: there is another number of fields, or the score is not a
        number.
    """
    if not line.strip():
        return None
    fields = line.split("\t")
    if len(fields) not in (2, 3):
        raise UserError(
            f"{source}:{number}: expected id, candidate and perhaps a score, "
            f"divided by tabs; got {len(fields)} field(s)"
        )
    other = None
    if len(fields) == 3:
        other = numerals.finite(fields[2])
        if other is None:
            raise UserError(
                f"{source}:{number}: the score '{fields[2]}' is not a number"
            )
    return Candidate(fields[0], fields[1], other, number)


def candidate_lists(
    candidates: Iterable[Candidate],
) -> Iterator[list[Candidate]]:
    """Groups consecutive candidates with the same id.

    Raises:
      UserError: an id is repeated after another one, or only some candidates of
        a list have scores; the line is named.
    """
    seen: set[str] = set()
    current: list[Candidate] = []
    for candidate in candidates:
        if current and candidate.list_id != current[0].list_id:
            yield _checked(current)
            seen.add(current[0].list_id)
            current = []
        if candidate.list_id in seen:
            raise UserError(
                f"line {candidate.line}: the id '{candidate.list_id}' comes "
                "again after another; sort the file by id"
            )
        current.append(candidate)
    if current:
        yield _checked(current)


def rerank(
    candidates: Sequence[Candidate],
    scores: Sequence[float | None],
    weight: float = 1.0,
) -> list[Ranked]:
    """Orders one list: other score + weight * model's score, best first.

    Without other scores only the model's decide (shallow fusion, as in Salazar
    et al. 2020, section 3).

    Args:
      candidates: candidates of one list.
      scores: the model's scores, higher is better; None sorts last.
      weight: weight of the model's score.

    Returns:
      All candidates; equal ones keep their order.
    """
    found = []
    for candidate, score in zip(candidates, scores, strict=True):
        total = score
        if score is not None and candidate.other is not None:
            total = candidate.other + weight * score
        found.append((candidate, score, total))
    found.sort(key=lambda x: (x[2] is None, -(x[2] or 0.0)))
    return [Ranked(c, i, s, t) for i, (c, s, t) in enumerate(found, 1)]


def _checked(candidates: list[Candidate]) -> list[Candidate]:
    given = [c.other is not None for c in candidates]
    if any(given) and not all(given):
        line = candidates[given.index(False)].line
        raise UserError(
            f"line {line}: has no score, and other candidates of "
            f"'{candidates[0].list_id}' have one"
        )
    return candidates
