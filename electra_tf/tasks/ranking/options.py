"""Defines the options of ranking."""

import dataclasses
from typing import Annotated, Literal, NamedTuple

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.tasks.hidden_layer import HiddenLayerOptions
from electra_tf.tasks.splits import TableOptions

Form = Literal["auto", "triples", "rows", "lists"]


class Columns(NamedTuple):
    """The names of the columns of a table."""

    query: str = "query"
    passage: str = "passage"
    relevance: str = "relevance"
    query_id: str = "query_id"
    passage_id: str = "passage_id"


@dataclasses.dataclass(frozen=True)
class RankingOptions(HiddenLayerOptions, TableOptions):
    """Options of `ranking`."""

    form: Annotated[
        Form,
        Setting(
            "What a line of the training file holds: a query with a positive "
            "and a negative (triples), a query and a passage (rows), or a "
            "query with lists of them (lists)."
        ),
    ] = "auto"
    negatives_file: Annotated[
        str | None,
        Setting(
            "File with more negatives for the training queries; null for none."
        ),
    ] = None
    query_column: Annotated[str, Setting("Column of the query.")] = "query"
    passage_column: Annotated[str, Setting("Column of the passage.")] = (
        "passage"
    )
    relevance_column: Annotated[
        str, Setting("Column of the passage's relevance, a number.")
    ] = "relevance"
    query_id_column: Annotated[
        str, Setting("Column of the query's id, if there is one.")
    ] = "query_id"
    passage_id_column: Annotated[
        str, Setting("Column of the passage's id, if there is one.")
    ] = "passage_id"
    relevant_from: Annotated[
        float,
        Setting(
            "Minimum relevance of a relevant passage: of positives, and for "
            "MRR and MAP."
        ),
    ] = 1.0
    loss: Annotated[
        Literal["pairwise", "listwise", "listnet", "pointwise"],
        Setting("Loss of a query's passages; listnet is for graded relevance."),
    ] = "listwise"
    num_negatives: Annotated[
        int,
        Setting(
            "Negatives beside each positive; fewer if no query has as many.",
            at_least=1,
        ),
    ] = 7
    groups_per_positive: Annotated[
        int | None,
        Setting(
            "Groups that are made of each positive; null makes as many as use "
            "each negative once.",
            at_least=1,
        ),
    ] = None
    negatives_seed: Annotated[
        int,
        Setting("Seed that decides which negatives a group has.", at_least=0),
    ] = 0
    metric: Annotated[
        Literal["mrr@10", "ndcg@10", "map"],
        Setting("Metric that selects the best weights."),
    ] = "mrr@10"
    max_seq_length: Annotated[
        int, Setting("Tokens of a row, query and special tokens included.")
    ] = 256
    max_query_length: Annotated[
        int,
        Setting(
            "Maximum tokens of a query; longer ones are truncated.", at_least=1
        ),
    ] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_seq_length < self.max_query_length + 4:
            raise UserError(
                f"max_seq_length: expected at least {self.max_query_length} "
                "(max_query_length) and 4 more for special tokens and the "
                f"passage, got {self.max_seq_length}"
            )

    @property
    def column_names(self) -> Columns:
        """The columns' names, by content."""
        return Columns(
            self.query_column,
            self.passage_column,
            self.relevance_column,
            self.query_id_column,
            self.passage_id_column,
        )
