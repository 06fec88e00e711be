"""Defines the settings of search and sampling, without TensorFlow."""

import dataclasses
from typing import Annotated, Literal, get_args

from electra_tf.config import Setting, Settings

Method = Literal["mask_predict", "gibbs", "one_shot", "unigram"]
METHODS: tuple[Method, ...] = get_args(Method)

_ITERATIONS = 10


@dataclasses.dataclass(frozen=True)
class SearchConfig(Settings):
    """How a beam search follows and ranks hypotheses.

    K is `beam_size` and T is `max_length`. The penalty is equation 14 of Wu
    et al. 2016 (GNMT): a log probability is divided by
    ((5 + length) / 6) ** length_penalty.
    """

    beam_size: Annotated[
        int,
        Setting(
            "Hypotheses kept at each step (beam size); 1 takes the best token "
            "at each step.",
            at_least=1,
        ),
    ] = 4
    max_length: Annotated[
        int,
        Setting("Tokens of a hypothesis, its end included.", at_least=1),
    ] = 128
    length_penalty: Annotated[
        float,
        Setting(
            "Exponent of the division by length; 0 favours short hypotheses.",
            at_least=0,
        ),
    ] = 0.6
    no_repeat_ngram: Annotated[
        int,
        Setting(
            "A hypothesis never repeats a run of this many tokens; 0 allows "
            "repeats.",
            at_least=0,
        ),
    ] = 0


@dataclasses.dataclass(frozen=True)
class Draw(Settings):
    """How a token is sampled from logits.

    `top_p` is nucleus sampling (Holtzman et al. 2020, section 3.1), at the
    temperature.
    """

    temperature: Annotated[
        float,
        Setting(
            "Divides the logits; 0 takes the most probable token.",
            at_least=0,
        ),
    ] = 1.0
    top_k: Annotated[
        int,
        Setting(
            "Samples from this many of the most probable tokens; 0 from all.",
            at_least=0,
        ),
    ] = 0
    top_p: Annotated[
        float,
        Setting(
            "Samples from the fewest of the most probable tokens that "
            "together have this probability; 1 from all.",
            above=0,
            at_most=1,
        ),
    ] = 1.0


@dataclasses.dataclass(frozen=True)
class SampleConfig(Settings):
    """How texts are sampled.

    mask_predict (Ghazvininejad et al. 2019, section 3) samples all places at
    once and then, in each iteration, fewer and fewer of them again, the least
    probable ones; gibbs (Wang and Cho 2019, section 3) resamples one place at a
    time; one_shot samples all places once; unigram samples words by frequency,
    whatever the context, for comparison.
    """

    method: Annotated[Method, Setting("How the places are sampled.")] = (
        "mask_predict"
    )
    num_iterations: (
        Annotated[
            int,
            Setting(
                "Passes of mask_predict, or of gibbs over all places; null "
                "for 10.",
                at_least=1,
            ),
        ]
        | None
    ) = None
    draw: Draw = Draw()
    critic: Annotated[
        bool,
        Setting(
            "Whether the discriminator chooses the places that are sampled "
            "again, those that it predicts to be replaced; else they are the "
            "least probable ones under the generator (mask_predict), or all in "
            "a random order (gibbs)."
        ),
    ] = True

    @property
    def iterations(self) -> int:
        """The number of iterations, by default the method's."""
        if self.method in ("one_shot", "unigram"):
            return 1
        return self.num_iterations or _ITERATIONS

    @property
    def uses_critic(self) -> bool:
        """Whether a discriminator is needed."""
        return self.critic and self.method in ("mask_predict", "gibbs")
