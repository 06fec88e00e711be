"""Tests the tokenizer as a Keras layer, and the options of `encode`."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

import electra_tf
from electra_tf.errors import UserError
from electra_tf.text.tokenizer import Tokenizer as GraphTokenizer

TEXTS = ["the cat sat", "a dog ran on the mat", ""]
PAIRS = ["on the mat", "house", "the"]


@pytest.fixture(scope="module")
def layer(tiny_vocab_file):
    return electra_tf.Tokenizer(tiny_vocab_file)


@pytest.fixture(scope="module")
def graph(tiny_vocab_file):
    return GraphTokenizer(tiny_vocab_file)


def same(one, other):
    assert list(one) == list(other)
    for name in one:
        a, b = one[name], other[name]
        if isinstance(a, tf.RaggedTensor):
            assert a.to_list() == b.to_list()
        else:
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype == tf.int32


@pytest.mark.parametrize(
    "texts", [TEXTS, np.array(TEXTS), np.array(TEXTS, object)]
)
def test_lists_and_arrays_and_tensors(layer, graph, texts):
    expected = graph.encode(TEXTS)
    same(layer(texts), expected)
    same(layer(tf.constant(TEXTS)), expected)
    same(layer(tf.constant(TEXTS)[:, tf.newaxis]), expected)


def test_pairs(layer, graph):
    expected = graph.encode(TEXTS, PAIRS)
    same(layer(TEXTS, PAIRS), expected)
    same(layer((TEXTS, PAIRS)), expected)
    same(layer(tf.constant(TEXTS), pair=tf.constant(PAIRS)), expected)


def test_a_text_alone_is_a_batch_of_one(layer, graph):
    expected = graph.encode(["the cat"])
    same(layer("the cat"), expected)
    same(layer.encode("the cat"), expected)
    assert expected["input_ids"].shape == (1, 4)


def test_ragged_rows_and_ids(tiny_vocab_file, graph):
    ragged = electra_tf.Tokenizer(tiny_vocab_file, output="ragged")(TEXTS)
    assert ragged["input_ids"].row_lengths().numpy().tolist() == [5, 8, 2]
    padded = {k: v.to_tensor() for k, v in ragged.items()}
    same(padded, graph.encode(TEXTS))
    ids = electra_tf.Tokenizer(tiny_vocab_file, output="ids", sequence_length=4)
    assert ids(TEXTS).to_list() == [r[:4] for r in graph(TEXTS).to_list()]
    with pytest.raises(UserError, match="pairs"):
        ids(TEXTS, PAIRS)


def test_length_side_and_multiple(tiny_vocab_file, graph):
    def made(texts=TEXTS, pair=None, **settings):
        layer = electra_tf.Tokenizer(tiny_vocab_file, **settings)
        return layer(texts, pair)["input_ids"].numpy().tolist()

    the, a, dog, ran, on, mat = graph.tokenize(
        ["the a dog ran on mat"]
    ).to_list()[0]
    cls, sep = graph.vocab.cls_id, graph.vocab.sep_id
    row = ["a dog ran on the mat"]
    assert made(row, sequence_length=5) == [[cls, a, dog, ran, sep]]
    assert made(row, sequence_length=5, truncation_side="left") == [
        [cls, on, the, mat, sep]
    ]
    assert made(
        row, ["dog dog"], sequence_length=7, truncation_side="left"
    ) == [[cls, the, mat, sep, dog, dog, sep]]
    assert made(row, pad_to_multiple_of=8) == made(row)
    assert made(row, pad_to_multiple_of=6) == [made(row)[0] + [0] * 4]
    assert np.shape(made(["", ""], pad_to_multiple_of=6)) == (2, 6)
    with pytest.raises(
        UserError, match="sequence_length: 10 is not a multiple"
    ):
        made(sequence_length=10, pad_to_multiple_of=8)
    with pytest.raises(UserError, match="truncation_side: 'top' is none of"):
        made(truncation_side="top")
    with pytest.raises(UserError, match="sequence_length: 2; expected at"):
        made(sequence_length=2)
    for wrong in ("8", 8.5):
        with pytest.raises(UserError, match=f"sequence_length: {wrong!r}; exp"):
            made(sequence_length=wrong)


def test_special_tokens_in_texts(tiny_vocab_file, layer, graph):
    special = electra_tf.Tokenizer(tiny_vocab_file, special_tokens=True)
    ids = graph.vocab.ids
    text = "the [MASK]cat[SEP] [MASK]"
    assert special.tokenize([text, "", "[PAD]"]).to_list() == [
        [ids["the"], ids["[MASK]"], ids["cat"], ids["[SEP]"], ids["[MASK]"]],
        [],
        [ids["[PAD]"]],
    ]
    assert ids["[MASK]"] not in layer.tokenize([text]).to_list()[0]
    # In lower case it is text, as without the option.
    assert special.tokenize(["[mask]"]).to_list() == (
        layer.tokenize(["[mask]"]).to_list()
    )


@pytest.mark.parametrize("special_tokens", [False, True])
def test_offsets_are_of_the_text(tiny_vocab_file, special_tokens):
    text, pair = "Thé [MASK]cats中\u00a0", "é [SEP] sat"
    layer = electra_tf.Tokenizer(tiny_vocab_file, special_tokens=special_tokens)
    found = layer.encode([text, ""], [pair, pair], return_offsets=True)
    read = [
        (layer.id_to_token(int(i)), (text, pair)[s][begin:end])
        for i, s, (begin, end) in zip(
            found["input_ids"][0].numpy(),
            found["segment_ids"][0].numpy(),
            found["offsets"][0].numpy(),
        )
    ]
    added = [piece for piece in read if piece[1] == ""]
    assert [p[0] for p in added] == ["[CLS]", "[SEP]", "[SEP]"]
    mask = ("[MASK]", "[MASK]")
    assert (mask in read) == special_tokens
    assert (("[SEP]", "[SEP]") in read) == special_tokens
    if special_tokens:
        assert read == [
            ("[CLS]", ""), ("the", "Thé"), mask, ("cat", "cat"),
            ("##s", "s"), ("中", "中"), ("[SEP]", ""), ("e", "é"),
            ("[SEP]", "[SEP]"), ("sat", "sat"), ("[SEP]", ""),
        ]  # fmt: skip
    cut = layer.encode([text], [pair], 6, return_offsets=True)["offsets"]
    assert cut.shape == (1, 6, 2)


def test_offsets_in_bytes_and_characters(graph):
    text = "é中 [MASK] sat"
    found = graph.tokenize_with_offsets([text, text], special_tokens=True)
    raw = text.encode()
    begin, end = found.start_bytes[1].numpy(), found.end_bytes[1].numpy()
    assert [raw[b:e].decode() for b, e in zip(begin, end)] == [
        "é", "中", "[MASK]", "sat",
    ]  # fmt: skip
    assert found.start_chars[1].numpy().tolist() == [0, 1, 3, 10]
    assert found.end_chars[1].numpy().tolist() == [1, 2, 9, 13]


def small_model(layer):
    keras.utils.set_random_seed(0)
    first = keras.Input(shape=(), dtype="string")
    second = keras.Input(shape=(), dtype="string")
    rows = layer(first, second)
    x = keras.layers.Embedding(200, 4)(rows["input_ids"])
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model([first, second], keras.layers.Dense(1)(x))


def test_in_a_functional_model_and_its_file(tiny_vocab_file, tmp_path):
    layer = electra_tf.Tokenizer(
        tiny_vocab_file, sequence_length=12, special_tokens=True,
        truncation_side="left", name="tokens",
    )  # fmt: skip
    model = small_model(layer)
    assert [x.shape for x in model.get_layer("tokens").output] == [
        (None, 12)
    ] * 3
    inputs = [tf.constant(TEXTS), tf.constant(PAIRS)]
    expected = model.predict(inputs, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(expected, loaded.predict(inputs, verbose=0))
    clone = keras.models.clone_model(model)
    same(clone.get_layer("tokens")(TEXTS), layer(TEXTS))
    dataset = tf.data.Dataset.from_tensors(
        ((*map(tf.constant, (TEXTS, PAIRS)),), tf.zeros([3, 1]))
    )
    model.compile("sgd", "mse")
    history = model.fit(dataset, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_ragged_in_a_functional_model(tiny_vocab_file):
    layer = electra_tf.Tokenizer(tiny_vocab_file, output="ragged")
    text = keras.Input(shape=(), dtype="string")
    model = keras.Model(text, layer(text)["input_ids"])
    found = model(tf.constant(TEXTS))
    assert found.to_list() == layer(TEXTS)["input_ids"].to_list()


def test_in_datasets(layer):
    dataset = tf.data.Dataset.from_tensor_slices((TEXTS, PAIRS, [1, 0, 1]))
    dataset = dataset.batch(3).map(lambda a, b, y: (layer(a, b), y))
    ((rows, labels),) = list(dataset)
    same(rows, layer(TEXTS, PAIRS))
    assert labels.numpy().tolist() == [1, 0, 1]
    back = tf.data.Dataset.from_tensors(rows["input_ids"])
    (texts,) = list(back.map(layer.detokenize))
    assert [t.decode() for t in texts.numpy()] == (
        layer.detokenize(rows["input_ids"])
    )


@pytest.mark.parametrize(
    "again",
    [
        copy.deepcopy,
        copy.copy,
        lambda x: pickle.loads(pickle.dumps(x)),
        lambda x: type(x).from_config(x.get_config()),
        keras.models.clone_model,
    ],
)
def test_copies_are_equal(tiny_vocab_file, again):
    layer = electra_tf.Tokenizer(
        tiny_vocab_file, False, True, sequence_length=8, pad_to_multiple_of=4,
        name="mine",
    )  # fmt: skip
    if again is keras.models.clone_model:
        text = keras.Input(shape=(), dtype="string")
        other = again(keras.Model(text, layer(text))).get_layer("mine")
    else:
        other = again(layer)
    assert other is not layer
    assert other.get_config() == layer.get_config()
    same(other(["Thé cat"]), layer(["Thé cat"]))


def test_graph_tokenizers_copy_and_pickle(graph):
    for other in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        assert other(TEXTS).to_list() == graph(TEXTS).to_list()
        assert other.vocab == graph.vocab


def test_vocabulary(layer, tiny_tokens):
    assert layer.vocabulary_size() == len(tiny_tokens)
    assert layer.get_vocabulary() == list(tiny_tokens)
    assert layer.id_to_token(4) == "[MASK]"
    assert layer.token_to_id("[MASK]") == 4
    with pytest.raises(UserError, match="no token 'zebra'"):
        layer.token_to_id("zebra")
    with pytest.raises(UserError, match="token id -1 is outside"):
        layer.id_to_token(-1)
    text = "the cat sat."
    assert layer.detokenize(layer(text)["input_ids"]) == [text]
    assert layer.decode(layer.tokenize([text])) == [text]


def test_repr_is_short(tiny_vocab_file, tiny_tokens):
    layer = electra_tf.Tokenizer(
        tiny_vocab_file, lower_case=False, sequence_length=8, name="t"
    )
    assert repr(layer) == (
        f"<electra_tf.Tokenizer t: {len(tiny_tokens)} tokens, "
        "sequence_length=8, cased>"
    )


def test_made_of_tokens_and_of_tokenizers(tiny_vocab_file, tiny_tokens):
    cased = GraphTokenizer(tiny_vocab_file, False, True)
    for source in (cased, electra_tf.Tokenizer(cased)):
        layer = electra_tf.Tokenizer(source)
        assert not layer.lower_case
        assert layer.strip_accents
    layer = electra_tf.Tokenizer(tiny_tokens)
    assert layer.lower_case
    assert layer.vocab.tokens == tiny_tokens


def test_inputs_that_are_not_text_are_reported(layer, graph):
    with pytest.raises(
        UserError, match="expected strings, got <dtype: 'int32'"
    ):
        layer(tf.constant([1]))
    with pytest.raises(UserError, match=r"electra_tf.Tokenizer\(TOKENIZER\)"):
        graph(keras.Input(shape=(), dtype="string"))


def test_calling_the_graph_tokenizer_and_its_special_tokens(graph):
    """A call returns the ids of texts; special tokens are added on request."""
    vocab = graph.vocab
    alone = graph(TEXTS).to_list()
    whole = [[vocab.cls_id, *row, vocab.sep_id] for row in alone]
    assert graph(TEXTS, add_special_tokens=True).to_list() == whole
    encoded = graph.encode(TEXTS)["input_ids"].numpy().tolist()
    assert [row[: len(ids)] for row, ids in zip(encoded, whole)] == whole
    in_graph = tf.function(lambda t: graph(t, add_special_tokens=True))
    assert in_graph(tf.constant(TEXTS)).to_list() == whole


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ([1, 2], "got 1 as item 1"),
        ([None, "a"], "got None as item 1"),
        (["a", "b", None], "got None as item 3"),
        (np.array([1.5]), "item 1"),
        (["a", "b \ud83d"], "got item 2: character 3 is half of a surrogate"),
        (np.array(["a", "\ud83d"]), "got item 2: character 1 is half of a sur"),
    ],
)
def test_values_that_are_not_text_are_reported(layer, graph, wrong, named):
    for tokenizer in (layer, graph):
        with pytest.raises(UserError, match="the tokenizer takes texts") as e:
            tokenizer(wrong)
        assert named in str(e.value)


def test_half_a_character_alone_is_reported(layer):
    with pytest.raises(UserError, match="got character 2 is half of a surrog"):
        layer("a\ud83d")


def test_symbolic_numbers_and_uneven_pairs_are_reported(layer):
    with pytest.raises(UserError, match="expected strings, got int32"):
        layer(keras.Input((), dtype="int32"))
    with pytest.raises(UserError, match="pair: 1 second texts for 2 first"):
        layer(["the", "cat"], ["sat"])
