"""Small checkpoints with random weights, for tests of formats."""

import dataclasses

import hypothesis.strategies as st
import numpy as np

from electra_tf.hub.checkpoint import Checkpoint
from electra_tf.hub.config import DirectoryConfig
from electra_tf.hub.names import shapes
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.text.vocab import SPECIALS, Vocab

VOCAB = Vocab((*SPECIALS, *"abcdefghij", *(f"##{c}" for c in "abcdefghij")))


def checkpoint(
    config: DirectoryConfig, seed: int = 0, slots: bool = False
) -> Checkpoint:
    """Returns random weights of a config's shapes; slots too if `slots`."""
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    wanted = shapes(config)
    config = dataclasses.replace(config, vocab_fingerprint=VOCAB.fingerprint())
    return Checkpoint(
        config=config,
        weights={name: draw(shape) for name, shape in wanted.items()},
        vocab=VOCAB,
        slots={n: (draw(s), draw(s) ** 2) for n, s in wanted.items()}
        if slots
        else None,
    )


TASKS = (
    None,
    TaskHeadConfig("sequence", 3, ("a", "b", "c")),
    TaskHeadConfig("sequence", 1, hidden_layer=True),
    TaskHeadConfig("token", 5),
    TaskHeadConfig("span"),
    TaskHeadConfig("span", joint_size=6, answerable=True),
    TaskHeadConfig("joint_span", joint_size=6, beam_size=3),
    TaskHeadConfig("joint_span", joint_size=6, answerable=True),
)


@st.composite
def models(draw: st.DrawFn) -> ModelConfig:
    """Generates configs of one encoder, with and without projection."""
    heads = draw(st.integers(1, 3))
    hidden = heads * draw(st.sampled_from([2, 4]))
    return ModelConfig(
        vocab_size=len(VOCAB),
        embedding_size=draw(st.sampled_from([hidden, 3, 5])),
        hidden_size=hidden,
        num_layers=draw(st.integers(1, 11)),
        num_heads=heads,
        intermediate_size=draw(st.integers(1, 7)),
        max_positions=draw(st.integers(1, 9)),
        type_vocab_size=draw(st.integers(1, 3)),
        hidden_dropout=draw(st.sampled_from([0.0, 0.1])),
        attention_dropout=draw(st.sampled_from([0.0, 0.1])),
        gelu=draw(st.sampled_from(["erf", "tanh"])),
        layer_norm_epsilon=draw(st.sampled_from([1e-12, 1e-5])),
    )


@st.composite
def configs(draw: st.DrawFn) -> DirectoryConfig:
    """Generates configs with and without each network, head and task."""
    discriminator = draw(models())
    kind = draw(st.sampled_from(["separate", "tied", "uniform", "two_tower"]))
    untied = kind in ("separate", "two_tower") and draw(st.booleans())
    generator = None
    if kind == "tied":
        generator = discriminator
    elif kind != "uniform" and draw(st.booleans()):
        generator = draw(models())
        if not untied:
            generator = dataclasses.replace(
                generator,
                embedding_size=discriminator.embedding_size,
                max_positions=discriminator.max_positions,
                type_vocab_size=discriminator.type_vocab_size,
            )
    return DirectoryConfig(
        discriminator=discriminator,
        generator=generator,
        lower_case=draw(st.booleans()),
        strip_accents=draw(st.sampled_from([None, True, False])),
        vocab_fingerprint="",
        step=draw(st.sampled_from([0, 1, 123456])),
        generator_kind=kind,
        generator_embeddings="untied" if untied else "shared",
        wrap_around=kind == "two_tower" and draw(st.booleans()),
        replaced_token_head=draw(st.booleans()),
        token_lm_head=generator is not None and draw(st.booleans()),
        task=draw(st.sampled_from(TASKS)),
    )


def same(a: Checkpoint, b: Checkpoint) -> None:
    """Asserts that two checkpoints are equal, bit for bit."""
    assert a.config == b.config
    assert a.vocab == b.vocab
    assert set(a.weights) == set(b.weights)
    for name in a.weights:
        x, y = np.asarray(a.weights[name]), np.asarray(b.weights[name])
        assert x.dtype == y.dtype and x.shape == y.shape, name
        assert x.tobytes() == y.tobytes(), name
    assert (a.slots is None) == (b.slots is None)
    for name in a.slots or ():
        for x, y in zip(a.slots[name], b.slots[name]):
            assert x.tobytes() == y.tobytes(), name
    assert set(a.slots or ()) == set(b.slots or ())
