"""Tests that sampled texts depend on the seed alone and have whole words."""

import dataclasses

import generation_models as models
import numpy as np
import pytest

from electra_tf.errors import UserError
from electra_tf.generation.filling import Filler
from electra_tf.generation.sampling import Sampler, count_words
from electra_tf.generation.settings import METHODS, Draw, SampleConfig
from electra_tf.generation.writing import Pieces

COUNTS = {"the": 5, "cat": 3, "##s": 4, ",": 2, "[UNK]": 9, "好": 1}
CONFIGS = {
    "mask_predict": SampleConfig(num_iterations=4),
    "without the critic": SampleConfig(num_iterations=4, critic=False),
    "gibbs": SampleConfig("gibbs", 1),
    "gibbs without": SampleConfig("gibbs", 1, critic=False),
    "one_shot": SampleConfig("one_shot"),
    "unigram": SampleConfig("unigram"),
    "cold": SampleConfig(num_iterations=2, draw=Draw(0.0)),
    "top": SampleConfig(num_iterations=2, draw=Draw(0.7, 20, 0.9)),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_tokens):
    return models.save(tmp_path_factory.mktemp("m"), tiny_tokens)


@pytest.fixture(scope="module")
def sampler(model):
    return Sampler.from_pretrained(model)


def test_all_methods_are_tried():
    assert {config.method for config in CONFIGS.values()} == set(METHODS)


# The other methods trace graphs and take long to generate.
QUICK = ("mask_predict", "one_shot", "unigram")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK))
        for name in CONFIGS
    ],
)
def test_the_same_seed_gives_the_same_samples(sampler, name):
    """A sample depends on its seed, not on the other samples."""
    config = CONFIGS[name]
    prompts = ["the cat", "", "the dog sat on the mat, and"]
    first = sampler.sample(prompts, 7, 12, config, seed=5, counts=COUNTS)
    assert [len(samples) for samples in first] == [12] * 3
    fewer = sampler.sample(prompts[::-1], 7, 2, config, 5, COUNTS)
    assert fewer[::-1] == [samples[:2] for samples in first]
    other = sampler.sample(prompts, 7, 12, config, seed=6, counts=COUNTS)
    if name != "cold":
        assert other != first
        assert len(set(first[0])) > 6

    vocab = sampler.tokenizer.vocab
    pieces = Pieces(vocab, len(vocab))
    for prompt, samples in zip(prompts, first):
        ids = np.array([[vocab.ids[t] for t in s.tokens] for s in samples])
        assert ids.shape == (12, 7)
        assert not pieces.banned[ids].any()
        assert not pieces.broken(ids, np.zeros([12], bool)).any()
        for sample in samples:
            assert sample.text.startswith(prompt)
            assert "##" not in sample.text.replace(" ##", "")
            # The text has the continuation without changes.
            assert sample.text.endswith(sample.continuation[1:])


def test_continuing_pieces_follow_a_word(sampler):
    """Pieces are generated; without them the tests above would be empty."""
    (found,) = sampler.sample(["the"], 12, 40, CONFIGS["one_shot"])
    tokens = [t for sample in found for t in sample.tokens]
    assert sum(t.startswith("##") for t in tokens) > 5


def test_one_pass_samples_from_the_generator(sampler):
    """At temperature 0 the first token is the best one for a blank there."""
    (found,) = sampler.sample(
        ["the cat,"], 1, 1, SampleConfig("one_shot", draw=Draw(0.0))
    )
    filler = Filler(sampler.generator)
    (filled,) = filler.fill(["the cat, [MASK]"], 1)
    assert found[0].tokens[0] == filled.blanks[0][0].token


def test_the_critic_chooses(model, sampler):
    """The critic changes which tokens are sampled again."""
    config = SampleConfig(num_iterations=4)
    with_it = sampler.sample(["the"], 8, 4, config)
    assert with_it != sampler.sample(
        ["the"], 8, 4, dataclasses.replace(config, critic=False)
    )
    alone = Sampler.from_pretrained(model, critic=False)
    with pytest.raises(UserError, match="--critic: no discriminator"):
        alone.sample(["the"], 8, 4, config)
    assert alone.sample(
        ["the"], 8, 4, dataclasses.replace(config, critic=False)
    )


def test_none_and_too_many(sampler):
    assert sampler.sample(["a", "b"], 5, 0) == [[], []]
    assert sampler.sample([], 5) == []
    most = models.LENGTH - 2
    assert len(sampler.sample([""], most, 1)[0][0].tokens) == most
    for length in (0, -1, most + 1):
        with pytest.raises(UserError, match=f"--length={length}: .* 1 to 22"):
            sampler.sample([""], length)
    with pytest.raises(UserError, match="--num_samples=-1"):
        sampler.sample([""], 5, -1)


def test_a_prompt_longer_than_the_model(sampler):
    """The end of a long prompt is read, and the text has all of it."""
    prompt = "The Dog. " * 20 + "the cat"
    assert sampler.cut(prompt, 5) == (
        "has 62 tokens; to leave room for the 5 to sample, only the last 17 "
        "are read"
    )
    assert sampler.cut("the cat", 5) is None
    (long, short) = sampler.sample(
        [prompt, "dog. " + "the dog. " * 4 + "the cat"], 5, 3, seed=1
    )
    assert [s.tokens for s in long] != [s.tokens for s in short]
    (same,) = sampler.sample(["the dog. " * 5 + "the cat"], 5, 3, seed=1)
    assert [s.tokens for s in long] == [s.tokens for s in same]
    assert all(s.text.startswith(prompt) for s in long)


def test_prompts_of_other_scripts(sampler):
    """Characters that the vocabulary lacks are kept in the text unchanged."""
    for prompt in ("☃ Ж", "今天天气很好\uff0c", "[CLS]", "Émile's  CAT "):
        for sample in sampler.sample([prompt], 4, 3)[0]:
            assert sample.text.startswith(prompt.rstrip())
            assert "UNK" not in sample.text


def test_unigrams(sampler):
    counts = count_words(sampler.tokenizer, ["the cats, the cat"] * 3)
    assert counts == {"the": 6, "cat": 6, "##s": 3, ",": 3}
    (found,) = sampler.sample(
        [""], 10, 200, SampleConfig("unigram"), counts=counts
    )
    tokens = [t for sample in found for t in sample.tokens]
    assert set(tokens) == set(counts)
    assert tokens.count("the") / tokens.count(",") == pytest.approx(2, rel=0.2)
    with pytest.raises(UserError, match="--counts_from=FILE"):
        sampler.sample([""], 3, 1, SampleConfig("unigram"))
    with pytest.raises(UserError, match="no word that the model can write"):
        sampler.sample([""], 3, 1, SampleConfig("unigram"), counts={"[UNK]": 3})


def test_wrong_settings():
    for wrong, message in (
        ({"method": "beam"}, "method: expected one of .*, got 'beam'"),
        ({"num_iterations": 0}, "num_iterations: .* at least 1, got 0"),
    ):
        with pytest.raises(UserError, match=message):
            SampleConfig(**wrong)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"generator_kind": "two_tower"}, "never seen"),
        ({"no_generator": True}, "holds no generator"),
        ({"discriminator": False}, "holds no discriminator"),
        ({"objective": "electric"}, "Electric"),
    ],
)
def test_models_that_cannot_write(tmp_path, tiny_tokens, kind, message):
    path = models.save(tmp_path, tiny_tokens, **kind)
    with pytest.raises(UserError, match=message):
        Sampler.from_pretrained(path)


def test_a_critic_of_another_vocabulary(tmp_path, tiny_tokens, model):
    other = models.save(tmp_path, tiny_tokens[:-1])
    with pytest.raises(UserError, match="another vocabulary"):
        Sampler.from_pretrained(model, critic=other)
    same = models.save(tmp_path / "same", tiny_tokens)
    assert Sampler.from_pretrained(model, critic=same)
