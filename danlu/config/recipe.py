"""The recipe: one strict tree of settings, the only way a run is described.

An unknown key is an error, a bad value is an error, and so are two settings that exclude each
other. Every setting carries its meaning and, where its default was not free to choose, the
source of that default; ``danlu recipe show`` and ``docs/recipe.md`` are made from them.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from danlu.config.data_sections import DataSection, DataSource, ModelSection, SequencesSection
from danlu.config.objective_section import (
    OBJECTIVE_SETTINGS,
    WITH_REFERENCE,
    WITH_ROLLOUTS,
    WITH_TEACHER,
    ObjectiveSection,
)
from danlu.config.rope_section import RopeSection
from danlu.config.section import PRACTICE, Section, setting
from danlu.config.training_sections import (
    CheckpointsSection,
    DevicesSection,
    EvaluationSection,
    LoggingSection,
    RolloutsSection,
    SamplesSection,
    TrainingSection,
)
from danlu.config.tuning_section import TuningSection

__all__ = [
    "OBJECTIVE_SETTINGS",
    "PRACTICE",
    "WITH_REFERENCE",
    "WITH_ROLLOUTS",
    "WITH_TEACHER",
    "CheckpointsSection",
    "DataSection",
    "DataSource",
    "DevicesSection",
    "EvaluationSection",
    "LoggingSection",
    "ModelSection",
    "ObjectiveSection",
    "Recipe",
    "RolloutsSection",
    "RopeSection",
    "SamplesSection",
    "Section",
    "SequencesSection",
    "TrainingSection",
    "TuningSection",
    "setting",
]


class Recipe(Section):
    """A fine-tuning run, described in full.

    Raises:
        pydantic.ValidationError: On an unknown key, a bad value or excluding settings; use
            ``danlu.config.load_recipe``, which turns it into a ``RecipeError``.
    """

    name: str = setting(..., "Name of the run; its directory is runs_dir/name.", min_length=1)
    runs_dir: str = setting("runs", "Where run directories are.")
    model: ModelSection = Field(default_factory=ModelSection)
    data: DataSection = Field(default_factory=DataSection)
    sequences: SequencesSection = Field(default_factory=SequencesSection)
    tuning: TuningSection = Field(default_factory=TuningSection)
    objective: ObjectiveSection = Field(default_factory=ObjectiveSection)
    rollouts: RolloutsSection = Field(default_factory=RolloutsSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    devices: DevicesSection = Field(default_factory=DevicesSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    checkpoints: CheckpointsSection = Field(default_factory=CheckpointsSection)
    logging: LoggingSection = Field(default_factory=LoggingSection)
    samples: SamplesSection = Field(default_factory=SamplesSection)

    @model_validator(mode="after")
    def _sequences_fit_the_objective(self) -> Self:
        if self.objective.name in ("nll", *WITH_TEACHER):
            return self
        for name in ("documents", "turns", "train_on_prompt", "weighting"):
            if getattr(self.sequences, name) != SequencesSection.model_fields[name].default:
                learns = "classes" if self.objective.name == "classify" else "responses"
                raise ValueError(
                    f"sequences.{name} does nothing with objective {self.objective.name}, which "
                    f"learns from a record's {learns}: remove one of them"
                )
        return self

    def uses(self, section: str) -> bool:
        """Whether a section of settings does anything in this recipe.

        Example:
            >>> Recipe(name="my-run").uses("rollouts")
            False
        """
        return section != "rollouts" or self.objective.name in WITH_ROLLOUTS

    @model_validator(mode="after")
    def _rollouts_fit_the_objective(self) -> Self:
        name, rollouts = self.objective.name, self.rollouts
        if name not in WITH_ROLLOUTS:
            if rollouts.model_fields_set:
                raise ValueError(f"rollouts does nothing with objective {name}: remove it")
            return self
        if name == "grpo" and rollouts.group_size == 1:
            raise ValueError("rollouts.group_size is 1, and grpo compares answers: 8 is usual")
        if rollouts.minibatches > self.training.batch_records:
            raise ValueError(
                f"rollouts.minibatches is {rollouts.minibatches}, and a step has only "
                f"{self.training.batch_records} records (training.batch_records)"
            )
        if self.tuning.lora_dropout:
            raise ValueError(
                f"tuning.lora_dropout does nothing with objective {name}, which compares the "
                "policy before and after an update: remove it"
            )
        return self
