"""The options of tasks that write texts."""

import dataclasses

from electra_tf.errors import UserError
from electra_tf.generation.settings import SearchConfig


@dataclasses.dataclass(frozen=True)
class Seq2SeqOptions:
    """Options of all tasks that write texts.

    Attributes:
      train_file: a table of pairs, inside --data or anywhere; found by its
        name where None (train, dev or validation, test), or --data itself.
      validation_file: the same.
      test_file: the same; it may lack the targets.
      validation_fraction: of the training pairs, held out by a hash of their
        texts where there is no validation file.
      source_language: as "en". With both languages, data are parallel files
        whose names end in .en and .de (and perhaps .gz), a text a line.
      target_language: the same.
      source_column: of a table, the text that is read.
      target_column: of a table, the text that is written.
      max_seq_length: tokens of a source, special ones included; longer ones
        are cut.
      max_target_length: tokens of a target, special ones aside; longer ones
        are cut, and none that is longer is written.
      decoder_layers: blocks of the decoder; of the encoder's width.
      from_encoder: the decoder begins with the encoder's weights, where these
        come from a checkpoint (Rothe et al. 2020).
      label_smoothing: share of the truth that is spread over all tokens
        (Szegedy et al. 2016).
      beam_size: hypotheses that are followed; 1 takes the best token at each
        step. While training the scores are of 1.
      length_penalty: see `SearchConfig`.
      no_repeat_ngram: see `SearchConfig`.
      n_best: so many of the best hypotheses are told.
    """

    train_file: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    validation_fraction: float = 0.02
    source_language: str | None = None
    target_language: str | None = None
    source_column: str = "source"
    target_column: str = "target"
    max_seq_length: int = 128
    max_target_length: int = 126
    decoder_layers: int = 3
    from_encoder: bool = True
    label_smoothing: float = 0.1
    beam_size: int = 4
    length_penalty: float = 0.6
    no_repeat_ngram: int = 0
    n_best: int = 1

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"{name}: expected a share in [0, 1), got "
                    f"{getattr(self, name)}"
                )
        for name, least in (
            ("max_seq_length", 3),
            ("max_target_length", 1),
            ("decoder_layers", 1),
            ("n_best", 1),
        ):
            if getattr(self, name) < least:
                raise UserError(
                    f"{name}: expected at least {least}, got "
                    f"{getattr(self, name)}"
                )
        if self.source_column == self.target_column:
            raise UserError(
                "target_column: expected another than source_column, got "
                f"'{self.target_column}' for both"
            )
        if (self.source_language is None) != (self.target_language is None):
            raise UserError(
                "source_language and target_language: give both or none"
            )
        if (
            self.source_language
            and self.target_language
            and (self.source_language == self.target_language)
        ):
            raise UserError(
                "target_language: expected another than source_language, got "
                f"'{self.target_language}' for both"
            )
        self.search()
        if self.n_best > self.beam_size:
            raise UserError(
                f"n_best: {self.n_best}, and beam_size is {self.beam_size}; "
                "a search has no more than that to tell"
            )

    def search(self) -> SearchConfig:
        """How texts are searched; the end takes a token of its own."""
        return SearchConfig(
            self.beam_size,
            self.max_target_length + 1,
            self.length_penalty,
            self.no_repeat_ngram,
        )
