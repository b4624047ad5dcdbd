"""The metrics that objectives report, as a person is told of them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is told to a person.

    Attributes:
        title: Its name.
        unit: What it is counted in.
        meaning: What it says, in a sentence.
        watch: What to look out for, in a sentence.
        rising: Whether more is better; None where neither way is.
        headline: Whether it stands beside the loss: in tables, in the picture, in the terminal.
        mark: A value worth a line in its chart, and the line's name.
        limits: The least and the most it can be, where it has both.
    """

    title: str
    unit: str = ""
    meaning: str = ""
    watch: str = ""
    rising: bool | None = None
    headline: bool = False
    mark: tuple[float, str] | None = None
    limits: tuple[float, float] | None = None


_FROM_REFERENCE = (
    " Before the first step policy and reference are equal, so where it begins says nothing."
)
_PAIRS = Metric(
    title="Accuracy",
    unit="share of pairs",
    meaning="Share of the pairs in which the better answer gets the higher reward.",
    watch="On held-out pairs, near 0.5 is chance; training far above evaluation means that pairs "
    "are learned by heart.",
    rising=True,
    headline=True,
    mark=(0.5, "chance"),
    limits=(0.0, 1.0),
)
_MARGIN = Metric(
    title="Margin",
    unit="reward of the better answer less that of the worse",
    meaning="By how much the better answer's reward exceeds the worse one's, on average.",
    watch="It may grow while the chosen nll rises too: then both answers get rarer, and the model "
    "moves to answers that nobody has seen.",
    rising=True,
    headline=True,
    mark=(0.0, ""),
)

_BETTER = Metric(
    title="Chosen reward",
    meaning="How much likelier the better answers are than to the reference or, without one, how "
    "likely they are; times beta.",
    watch="Falling below where it began, even the better answers get rarer; a margin that grows "
    "all the same comes from the worse answers alone.",
    mark=(0.0, ""),
)
_WORSE = Metric(
    title="Rejected reward",
    meaning="The same of the worse answers.",
    watch="It should fall, or rise less than that of the better answers.",
    mark=(0.0, ""),
)
_BETTER_NLL = Metric(
    title="Chosen nll",
    unit="nats per token",
    meaning="How unlikely the better answers are to the model.",
    watch="It should stay level or fall; if it rises, lower training.learning_rate, or set "
    "objective.sft_weight where the objective has it.",
    rising=False,
)

METRICS: dict[str, Metric] = {
    "accuracy": _PAIRS,
    "dpo.accuracy": replace(_PAIRS, meaning=_PAIRS.meaning + _FROM_REFERENCE),
    "reward.accuracy": replace(
        _PAIRS, meaning="Share of the pairs in which the better answer gets the higher score."
    ),
    "classify.accuracy": replace(
        _PAIRS,
        unit="share of records",
        meaning="Share of the records whose label is found; with several labels a record, all of "
        "them and no other.",
        watch="Compare it with the share of the commonest label, which an answer that never "
        "changes reaches too.",
        mark=None,
    ),
    "macro_f1": Metric(
        title="Macro F1",
        meaning="Mean of the labels' F1 scores; a rare label counts as much as a common one. "
        "Labels that neither occur nor are said are left out.",
        watch="Far below the accuracy, rare labels are not found: give them more records.",
        rising=True,
        headline=True,
        limits=(0.0, 1.0),
    ),
    "micro_f1": Metric(
        title="Micro F1",
        meaning="F1 of all labels together; a common label counts for more than a rare one.",
        watch="Far above the macro F1, it is the common labels alone that are found.",
        rising=True,
        limits=(0.0, 1.0),
    ),
    "margin": _MARGIN,
    "kto.margin": replace(
        _MARGIN,
        unit="reward of thumbs up less that of thumbs down",
        meaning="By how much the mean reward of answers with thumbs up exceeds that of answers "
        "with thumbs down.",
        watch="It may grow while the chosen nll rises too: then all answers get rarer, and the "
        "model moves to answers that nobody has seen.",
    ),
    "reward.margin": replace(
        _MARGIN,
        unit="score of the better answer less that of the worse",
        meaning="By how much the better answer's score exceeds the worse one's, on average.",
        watch="If it goes on growing while the accuracy on held-out pairs stands still, the model "
        "gets surer and not better.",
    ),
    "chosen_reward": _BETTER,
    "kto.chosen_reward": replace(
        _BETTER,
        meaning="How much likelier answers with thumbs up are than to the reference, times beta.",
        watch="Falling below 0, even answers with thumbs up get rarer.",
    ),
    "rejected_reward": _WORSE,
    "kto.rejected_reward": replace(
        _WORSE,
        meaning="The same of answers with thumbs down.",
        watch="It should fall, or rise less than that of thumbs up.",
    ),
    "chosen_nll": _BETTER_NLL,
    "kto.chosen_nll": replace(
        _BETTER_NLL,
        meaning="How unlikely answers with thumbs up are to the model.",
        watch="It should stay level or fall; if it rises, lower training.learning_rate or raise "
        "objective.desirable_weight.",
    ),
    "kl_baseline": Metric(
        title="KL baseline",
        unit="nats per answer",
        meaning="How far the policy has moved from the reference, whatever the prompt: measured on "
        "answers put after prompts they do not belong to, and 0 where that is negative.",
        watch="Growing fast, the policy runs away: lower training.learning_rate or raise "
        "objective.beta.",
        mark=(0.0, ""),
    ),
    "reward": Metric(
        title="Reward",
        meaning="Mean reward of the sampled answers.",
        watch="A reward that rises while the samples get worse is earned by a trick: read them.",
        rising=True,
        headline=True,
    ),
    "reward_deviation": Metric(
        title="Reward spread",
        unit="standard deviation",
        meaning="How far the rewards of the sampled answers lie apart.",
        watch="At 0 every answer earns the same, and nothing is left to learn from.",
    ),
    "level_groups": Metric(
        title="Level groups",
        unit="share of prompts",
        meaning="Share of the prompts whose sampled answers all earn the same reward.",
        watch="They teach nothing: near 1 the prompts are too easy or too hard, or the reward is "
        "too coarse.",
        limits=(0.0, 1.0),
    ),
    "kl": Metric(
        title="KL to the reference",
        unit="nats per answer",
        meaning="How far the policy has moved from the reference, on answers that it sampled.",
        watch="Growing fast, the policy runs away: lower training.learning_rate or raise "
        "objective.kl_weight.",
        headline=True,
        mark=(0.0, ""),
    ),
    "entropy": Metric(
        title="Entropy",
        unit="nats per token",
        meaning="How open the policy is about its next token.",
        watch="Near 0 it always says the same, and finds nothing new to be rewarded for.",
    ),
    "clip_fraction": Metric(
        title="Clip fraction",
        unit="share of tokens",
        meaning="Share of the tokens that the clip holds back.",
        watch="A share that grows means that updates want to go further than they may: lower "
        "training.learning_rate.",
        limits=(0.0, 1.0),
    ),
    "drift": Metric(
        title="Drift",
        unit="nats per token",
        meaning="How far the updates have moved the policy from the one that sampled.",
        watch="If it grows from step to step, a batch is used for too much: lower "
        "training.learning_rate.",
        mark=(0.0, ""),
    ),
    "kl_weight": Metric(
        title="KL weight",
        unit="reward per nat",
        meaning="The price of KL that the adaptive control has come to.",
        watch="Rising all the time, the policy pulls away harder than the price holds it: lower "
        "training.learning_rate.",
    ),
    "policy_loss": Metric(
        title="Policy loss",
        meaning="The clipped objective that the updates minimise.",
        watch="Its level says little, since it is measured against answers of the same batch; "
        "jumps are updates that went wrong.",
        mark=(0.0, ""),
    ),
    "value_loss": Metric(
        title="Value loss",
        meaning="Squared error of the critic.",
        watch="It should fall, or move with the spread of the rewards.",
        rising=False,
    ),
    "explained_variance": Metric(
        title="Explained variance",
        meaning="Share of the differences in return that the critic foresaw: 1 is all, 0 no more "
        "than their mean.",
        watch="At 0 or below the critic is of no help yet.",
        rising=True,
        mark=(0.0, ""),
    ),
    "truncated": Metric(
        title="Truncated",
        unit="share of answers",
        meaning="Share of the sampled answers that were cut at the longest length.",
        watch="Rising, the answers no longer come to an end: read the samples.",
        rising=False,
        limits=(0.0, 1.0),
    ),
    "length": Metric(
        title="Length",
        unit="tokens per answer",
        meaning="Mean length of the sampled answers.",
        watch="If it grows with the reward, the reward may be paying for length alone.",
    ),
    "score": Metric(
        title="Score",
        meaning="Mean score over all answers.",
        watch="Only differences between answers to one prompt count; where the mean lies is free, "
        "unless objective.centering holds it at 0.",
        mark=(0.0, ""),
    ),
    "score_deviation": Metric(
        title="Score spread",
        unit="standard deviation",
        meaning="How far the scores of all answers lie apart.",
        watch="Near 0 the model gives every answer the same score.",
    ),
    "divergence": Metric(
        title="Divergence",
        unit="nats per token",
        meaning="KL divergence between the teacher's and the student's next token.",
        watch="Level on held-out records while it falls in training: the records are learned by "
        "heart, not the teacher.",
        rising=False,
        headline=True,
    ),
    "nll": Metric(
        title="Nll",
        unit="nats per token",
        meaning="How unlikely the data's own answers are to the model.",
        watch="It may rise a little while the student nears a teacher that says things otherwise.",
        rising=False,
    ),
    "perplexity": Metric(
        title="Perplexity",
        meaning="Among how many tokens, were they equally likely, the model chooses: e to the "
        "power of the loss.",
        watch="Rising on held-out text while training falls, text is learned by heart; compare it "
        "between models of one tokenizer only.",
        rising=False,
        headline=True,
    ),
    "distil.perplexity": Metric(
        title="Perplexity",
        meaning="Among how many tokens, were they equally likely, the student chooses on the "
        "data's own answers: e to the power of the nll.",
        watch="It may rise a little while the divergence falls: the teacher says things otherwise.",
        rising=False,
        headline=True,
    ),
    "stop_loss": Metric(
        title="Loss of the stop token",
        unit="nats",
        meaning="How surprised the model is by the token that ends an answer, where it belongs.",
        watch="Above 0.7, it is not the likeliest end: answers will run on.",
        rising=False,
        mark=(0.6931, "half of the probability"),
    ),
    "new_token_loss": Metric(
        title="Loss of the new tokens",
        unit="nats",
        meaning="How surprised the model is by the special tokens that the recipe adds.",
        rising=False,
    ),
}
"""By name, or by objective and name where an objective's number means something of its own. Their
order is that of the page."""

LOSS_NOTES: dict[str, str] = {
    "reward": "Nats per choice; 0.693 (log 2) is a coin tossed between two answers.",
    "dpo": "The sigmoid loss begins at 0.693 (log 2), where policy and reference are equal.",
    "kto": "Begins at 0.5, where policy and reference are equal, times the weight of the label.",
    "orpo": "Nll of the better answer per token, and a term for the odds against the worse one.",
    "simpo": "Falls as the mean log-probability of the better answer passes the worse one's.",
    "cpo": "Preference without a reference, and the nll of the better answer.",
    "classify": "Nats per label; guessing is the logarithm of the classes (two: 0.693).",
    "ppo": "The price of KL less the mean reward: it falls as answers earn more.",
    "grpo": "The price of KL less the mean reward: it falls as answers earn more.",
    "distil": "Divergence from the teacher, times the temperature squared, mixed with nll by "
    "objective.nll_weight; nats per token.",
}
"""What a loss that is not plain nll says; compare it only between runs of the same settings."""
