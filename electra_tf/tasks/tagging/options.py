"""Defines the options of tagging, and the presets of its members."""

import dataclasses
from typing import Annotated, Any, Literal

from electra_tf.config import Setting
from electra_tf.tasks.splits import SplitOptions

Scorer = Literal["seqeval", "strict", "original"]

# Options of the family's members, in place of "auto" and null. The columns of
# rows that a member takes first.
COLUMNS = {
    "pos": ("pos_tags", "upos", "pos", "xpos"),
    "conll2000": ("chunk_tags", "chunks"),
}
MEMBERS: dict[str, dict[str, Any]] = {
    "conll2000": {},
    "conll2003": {},
    "wnut17": {"separator": "tab"},
    "msra": {},
    # Number, word, tag, tag of the nested span.
    "germeval2014": {
        "separator": "tab", "token_column": 1, "tag_column": 2,
    },
    "pos": {"scheme": "none"},
}  # fmt: skip
SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " ", "white space": None}


@dataclasses.dataclass(frozen=True)
class TaggingOptions(SplitOptions):
    """Options of `tagging`."""

    format: Annotated[
        Literal["auto", "conll", "conllu"],
        Setting(
            "Format of the files: a word and its tag a line, or CoNLL-U; auto "
            "takes it from their names."
        ),
    ] = "auto"
    token_column: Annotated[
        int | None,
        Setting(
            "Number of the words' column, from 0; null is the first (in "
            "CoNLL-U the second)."
        ),
    ] = None
    tag_column: Annotated[
        int | str | None,
        Setting(
            "Number of the tags' column, from 0, or from -1 back; null is the "
            "last (in CoNLL-U the fourth). Of rows and tables its name."
        ),
    ] = None
    tag_names: Annotated[
        tuple[str, ...] | None,
        Setting(
            "Names of the tags, where the files number them from 0; null where "
            "the files have names."
        ),
    ] = None
    separator: Annotated[
        str | None,
        Setting(
            "Separator of columns: tab, space or any text; null is white space "
            "(in CoNLL-U a tab)."
        ),
    ] = None
    comment: Annotated[
        str | None,
        Setting(
            "Beginning of a line to skip, as a comment; null takes '#' and a "
            "space, unless a word with its tag follows; an empty text skips no "
            "line."
        ),
    ] = None
    scheme: Annotated[
        Literal[
            "auto",
            "bio",
            "iob1",
            "ioe1",
            "ioe2",
            "bioes",
            "bilou",
            "bmes",
            "io",
            "none",
        ],
        Setting(
            "How tags spell spans; auto finds it in the training data, io has "
            "types alone, none has tags without spans."
        ),
    ] = "auto"
    convert_to: Annotated[
        Literal["bio", "bioes"] | None,
        Setting(
            "Scheme that the model learns; null is the data's. Predictions "
            "and metrics are in the data's."
        ),
    ] = None
    constrained: Annotated[
        bool, Setting("Predict only valid sequences of tags.")
    ] = True
    scorer: Annotated[
        Scorer,
        Setting(
            "How entities are counted: as seqeval and conlleval, in seqeval's "
            "strict mode, or as the original ELECTRA."
        ),
    ] = "seqeval"
    max_seq_length: Annotated[
        int,
        Setting(
            "Tokens of a row, special ones included; longer sentences are "
            "read through several.",
            at_least=3,
        ),
    ] = 128
