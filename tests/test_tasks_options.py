"""Tests task options: without TensorFlow, and as older versions wrote them."""

import json
import subprocess
import sys
import types

import pytest

from electra_tf import config
from electra_tf.errors import UserError
from electra_tf.finetuning import settings as finetune_settings
from electra_tf.finetuning import splits
from electra_tf.tasks import registry
from electra_tf.tasks.splits import SplitOptions

# Family -> its options in run directories and settings of older versions.
SPLITS = {"train_file": None, "validation_file": "d.txt", "test_file": None}
BEFORE = {
    "classification": {
        **SPLITS, "validation_fraction": 0.2, "text_column": "review",
        "text_pair_column": None, "label_column": "class",
        "columns": ["class", "review"], "double_unordered": False,
        "labels": ["no", "yes"], "multi_label": False, "separator": ",",
        "threshold": 0.5, "class_weights": {"no": 2.0}, "metric": "f1",
        "positive_label": "yes", "max_seq_length": 64, "dropout": 0.1,
        "hidden_layer": True,
    },
    "regression": {
        **SPLITS, "validation_fraction": 0.1, "text_column": "text",
        "text_pair_column": "b", "label_column": "label", "columns": None,
        "double_unordered": True, "scale": 5, "metric": None,
        "max_seq_length": 128, "dropout": 0.0, "hidden_layer": False,
    },
    "glue/rte": {
        "max_seq_length": 128, "dropout": 0.1, "hidden_layer": False,
        "double_unordered": None,
    },
    "squad/v2.0": {
        **SPLITS, "max_seq_length": 384, "doc_stride": 128,
        "max_query_length": 64, "head": "independent",
        "answerability": "first_token", "answerable_weight": 0.5,
        "beam_size": 20, "n_best_size": 20, "max_answer_length": 30,
        "null_threshold": -2.75, "dropout": 0.0,
    },
    "chinese_qa/drcd": {**SPLITS, "max_answer_length": 50},
    "tagging/conll2000": {
        **SPLITS, "validation_share": 0.05, "split_seed": 3,
        "token_column": None, "tag_column": 1, "separator": "tab",
        "scheme": "bio", "convert_to": "bioes", "constrained": True,
        "scorer": "strict", "max_seq_length": 128,
    },
    "ranking": {
        **SPLITS, "negatives_file": None, "validation_share": 0.3,
        "split_seed": 1, "form": "rows", "query_column": "q",
        "passage_column": "p", "relevance_column": "r",
        "query_id_column": "qid", "passage_id_column": "pid",
        "relevant_from": 2.0, "loss": "listnet", "num_negatives": 3,
        "groups_per_positive": None, "negatives_seed": 0, "metric": "map",
        "max_seq_length": 256, "max_query_length": 32,
    },
    "translation": {
        **SPLITS, "validation_fraction": 0.02, "source_language": "en",
        "target_language": "de", "source_column": "source",
        "target_column": "target", "max_seq_length": 64,
        "max_target_length": 62, "decoder_layers": 2, "from_encoder": False,
        "label_smoothing": 0.1, "beam_size": 4, "length_penalty": 0.6,
        "no_repeat_ngram": 0, "n_best": 2, "bleu_tokenizer": "char",
        "lower_case_scores": True,
    },
    "abstractive_summarization": {"source_column": "text", "stem": False},
    "extractive_summarization": {
        **SPLITS, "validation_fraction": 0.05, "document_column": "d",
        "summary_column": "s", "language": "de", "title_line": True,
        "num_sentences": None, "num_words": 40, "ratio": None,
        "trigram_blocking": False, "max_seq_length": 256, "stem": False,
        "baselines": False,
    },
    "multitask": {
        "tasks": [
            {"name": "tagging/pos", "options": {"validation_share": 0.2},
             "data": "pos", "label": None},
        ],
        "power": 0.5,
    },
}  # fmt: skip
RENAMED = {"validation_share": "validation_fraction"}


@pytest.mark.parametrize("name", BEFORE)
def test_options_of_the_version_before_are_read(name):
    before = json.loads(json.dumps(BEFORE[name]))
    now = config.to_dict(registry.stored_options(name, before))
    for key, value in before.items():
        assert now[RENAMED.get(key, key)] == value, key


def test_options_of_another_task_are_left_out():
    found = registry.stored_options(
        "tagging", {**BEFORE["ranking"], "loss": "listnet"}, "ranking"
    )
    assert found.validation_fraction == 0.3 and found.split_seed == 1
    with pytest.raises(UserError, match="unknown key 'loss'"):
        registry.stored_options("tagging", {"loss": "listnet"})
    with pytest.raises(UserError, match="'validation_fraction' is given twice"):
        registry.stored_options(
            "tagging", {"validation_share": 0.1, "validation_fraction": 0.1}
        )


def test_every_task_of_files_has_the_same_keys():
    shared = {key.key for key in config.describe(SplitOptions)}
    assert {"train_file", "validation_fraction", "split_seed"} <= shared
    for name in registry.FAMILIES:
        if name not in ("glue", "multitask"):
            cls = registry.options_class(name)
            assert issubclass(cls, SplitOptions), name
            keys = {key.key: key for key in config.describe(cls)}
            assert shared < set(keys) and "format" in keys
            for key in config.describe(SplitOptions):
                assert keys[key.key].text == key.text


def test_options_are_known_without_tensorflow():
    code = (
        "import sys\n"
        "from electra_tf import config\n"
        "from electra_tf.tasks import registry\n"
        "for name in registry.FAMILIES:\n"
        "    config.describe(registry.options_class(name))\n"
        "    registry.options_class(name)()\n"
        "heavy = {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    for name in registry.FAMILIES:
        assert registry.task_class(name).Options is registry.options_class(name)


def test_longer_rows_than_the_model_reads_are_refused_at_the_start():
    """The error comes before any row is read, however short the rows are."""

    class Unread:
        def __init__(self, **lengths):
            self.options = types.SimpleNamespace(**lengths)

        def read(self, split):
            raise AssertionError("the data was read")

    def read(task):
        return splits.read(task, None, 512, None, 0)

    with pytest.raises(
        UserError, match=r"options\.max_seq_length: is 1024, .* to 512 or less"
    ):
        read(Unread(max_seq_length=1024))
    with pytest.raises(UserError, match=r"max_target_length.* to 510 or less"):
        read(Unread(max_seq_length=512, max_target_length=511))
    several = Unread()
    several.tasks = {"qa": Unread(max_seq_length=513)}
    with pytest.raises(UserError, match=r"task qa: options\.max_seq_length"):
        read(several)
    with pytest.raises(AssertionError, match="was read"):
        read(Unread(max_seq_length=512, max_target_length=510))


@pytest.mark.parametrize("task", ["classification", "glue/rte", "ranking"])
def test_an_activation_needs_its_layer(task):
    options = registry.options_class(task)
    assert options(hidden_layer=True, hidden_activation="tanh").hidden_layer
    with pytest.raises(UserError, match="set hidden_layer to true"):
        options(hidden_activation="tanh")
    with pytest.raises(UserError, match=r"options\.hidden_activation: tanh"):
        config.resolve(
            finetune_settings.settings_class(task),
            {"task": task, "options": {"hidden_activation": "tanh"}},
        )
