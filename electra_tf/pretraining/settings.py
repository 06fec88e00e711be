"""Settings of pre-training; importable without TensorFlow."""

import dataclasses
import difflib
from typing import Annotated, Literal

from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError

# Objectives by name, each a class below `pretraining.objectives`.
OBJECTIVES = {
    "electra": "electra:Electra",
    "mlm": "masked_lm:MaskedLM",
    "electric": "electric:Electric",
    "electra_15": "electra:Electra15",
    "replaced_mlm": "restored:ReplacedMLM",
    "all_tokens_mlm": "restored:AllTokensMLM",
}


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig(Settings):
    """Holds what is trained on what, and with which weight.

        from electra_tf import ElectraPretrainer, ObjectiveConfig

        objective = ObjectiveConfig(kind="electra_15", disc_weight=25.0)
        ElectraPretrainer.from_size(
            "tiny", vocab="vocab.txt", objective=objective
        )

    `electra-tf pretrain --help=settings` describes each field.
    """

    kind: Annotated[
        str,
        Setting(
            "electra: replaced token detection (paper, section 2); mlm: "
            "BERT's masked LM with a mask of its own in each epoch; "
            "electric: noise-contrastive estimation (Clark et al. 2020b); "
            "and of the paper's section 3.4: electra_15, ELECTRA with the "
            "loss of masked positions alone; replaced_mlm, a masked LM that "
            "reads the generator's samples in place of [MASK]; "
            "all_tokens_mlm, the same, predicting every token, with a copy "
            "mechanism. Or FILE.py:CLASS, an objective of one's own; see "
            "docs/objectives.md."
        ),
    ] = "electra"
    gen_weight: Annotated[
        float,
        Setting("Weight of the generator's loss (Table 6).", at_least=0),
    ] = 1.0
    disc_weight: Annotated[
        float,
        Setting(
            "Weight of the discriminator's loss; 50 suits the binary losses "
            "(Table 6), 1 the others.",
            at_least=0,
        ),
    ] = 50.0
    temperature: Annotated[
        float,
        Setting(
            "Temperature of the distribution that replacements are sampled "
            "from.",
            above=0,
        ),
    ] = 1.0
    temperature_start: Annotated[
        float | None,
        Setting(
            "Temperature at the first step; it then decays to temperature "
            "(Fast-ELECTRA, Dong et al. 2023). null: no decay.",
            above=0,
        ),
    ] = None
    temperature_decay_steps: Annotated[
        int,
        Setting(
            "Steps in which the difference from temperature shrinks by a "
            "factor of e.",
            at_least=1,
        ),
    ] = 10_000
    disallow_correct: Annotated[
        bool, Setting("Whether samples are never the original token.")
    ] = False
    adversarial: Annotated[
        bool,
        Setting(
            "Whether the generator is trained to mislead the discriminator, "
            "by REINFORCE (paper, appendix F). Weaker than maximum likelihood "
            "there; for research."
        ),
    ] = False
    two_stage_steps: Annotated[
        int,
        Setting(
            "Steps that train the generator alone; then the discriminator "
            "starts from its weights and is trained, and the generator is not "
            "(paper, section 3.2). Weaker than joint training there; for "
            "research. 0: joint training.",
            at_least=0,
        ),
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        path, colon, _ = self.kind.rpartition(":")
        if self.kind in OBJECTIVES or (colon and path.endswith(".py")):
            return
        near = difflib.get_close_matches(self.kind, OBJECTIVES, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UserError(
            f"kind: expected one of {', '.join(OBJECTIVES)}, or "
            f"FILE.py:CLASS, got '{self.kind}'{hint}"
        )


@dataclasses.dataclass(frozen=True)
class MaskingConfig(Settings):
    """Holds how many tokens are masked, and how (paper, section 3.1).

        from electra_tf import MaskedLM, MaskingConfig

        masking = MaskingConfig(mask_prob=0.25, unit="whole_word")
        MaskedLM.from_pretrained("model", masking=masking)

    `electra-tf pretrain --help=settings` describes each field.
    """

    mask_prob: Annotated[
        float,
        Setting(
            "Share of the real tokens that are masked; 0.25 for large.",
            above=0,
            at_most=1,
        ),
    ] = 0.15
    mask_token_rate: Annotated[
        float,
        Setting(
            "Share of the chosen tokens that become [MASK]; the rest stay.",
            above=0,
            at_most=1,
        ),
    ] = 0.85
    max_predictions: Annotated[
        int | None,
        Setting(
            "The most predictions in a row; null: as many as mask_prob asks "
            "for.",
            at_least=1,
        ),
    ] = None
    unit: Annotated[
        Literal["token", "whole_word", "span"],
        Setting("Unit that is masked whole or not at all."),
    ] = "token"
    max_span_length: Annotated[
        int, Setting("The longest span, in words.", at_least=1)
    ] = 10
    span_geometric: Annotated[
        float,
        Setting(
            "p of the geometric distribution of a span's length.",
            above=0,
            at_most=1,
        ),
    ] = 0.2

    def slots(self, length: int) -> int:
        """Returns N, the most predictions in a row of `length` positions."""
        if self.max_predictions is not None:
            return min(self.max_predictions, length)
        return max(1, min(length, int((self.mask_prob + 0.005) * length)))
