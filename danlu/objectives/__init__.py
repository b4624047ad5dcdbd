"""What is minimised: one file per objective.

An objective is a frozen config with its paper and equation, and functions from scored predictions
to a loss and sums per channel. It never sees padding, masks or devices. Adding one is one file, its
test, one line in ``MAKERS``, and its settings in the recipe's ``objective``.
"""

from collections.abc import Callable, Mapping

from danlu.config.recipe import ObjectiveSection
from danlu.objectives.classification import Classification
from danlu.objectives.classify import Classify
from danlu.objectives.cpo import Cpo
from danlu.objectives.distil import Distil
from danlu.objectives.dpo import Dpo
from danlu.objectives.imitation import Imitation
from danlu.objectives.judgement import Judgement
from danlu.objectives.kto import Kto
from danlu.objectives.nll import Nll
from danlu.objectives.objective import Objective, Reads
from danlu.objectives.orpo import Orpo
from danlu.objectives.policy import GrpoPolicy, PpoPolicy
from danlu.objectives.predictions import Answers, ChannelSums, Predictions, Teacher
from danlu.objectives.preference import Preference
from danlu.objectives.reward import Reward
from danlu.objectives.scoring import Scoring
from danlu.objectives.simpo import Simpo

MAKERS: Mapping[str, Callable[..., Objective]] = {
    "nll": Nll,
    "reward": lambda **settings: Scoring(Reward(**{"ties": "allow", **settings})),
    "dpo": lambda **settings: Preference(Dpo(**settings)),
    "orpo": lambda **settings: Preference(Orpo(**settings)),
    "simpo": lambda **settings: Preference(Simpo(**settings)),
    "cpo": lambda **settings: Preference(Cpo(**settings)),
    "kto": lambda **settings: Judgement(Kto(**settings)),
    "classify": lambda **settings: Classification(Classify(**settings)),
    "ppo": PpoPolicy.of,
    "grpo": GrpoPolicy.of,
    "distil": lambda **settings: Imitation(Distil(**settings)),
}
"""Every objective by the name that recipes use."""


def build_objective(section: ObjectiveSection) -> Objective:
    """Make the objective that a recipe names, with its own defaults for what is not set.

    Raises:
        RecipeError: If a setting is out of its limits.

    Example:
        >>> build_objective(ObjectiveSection(name="dpo", beta=0.3)).pair.beta
        0.3
    """
    return MAKERS[section.name](**section.given())


__all__ = [
    "MAKERS",
    "Answers",
    "ChannelSums",
    "Nll",
    "Objective",
    "Predictions",
    "Reads",
    "Teacher",
    "build_objective",
]
