"""The plan of judging: which dimensions, with which weights, and what is usable, per task type."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from danlu.config.strict_yaml import KeyPath, read_yaml
from danlu.errors import EvaluationError, did_you_mean
from danlu.evaluation.judging.reading import HIGHEST, LOWEST
from danlu.evaluation.schema import Item, TypeStakes
from danlu.workshop.produce.prompts import Language

SHIPPED = Path(__file__).parent / "plan.yaml"
DEFAULT_USABLE_FROM = 6.5
JUDGE = "judge"
"""Name of the scorer, and of its settings in a suite."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bands(_Strict):
    """What the scores of a dimension mean, in place of the usual bands.

    Attributes:
        en: In English.
        zh: In Chinese.
    """

    en: str
    zh: str


class Dimension(_Strict):
    """One respect in which an answer is judged.

    Attributes:
        en: The question to the judge, in English.
        zh: The same in Chinese.
        needs: What an item must have for the question to make sense: a ``system`` message or a
            ``reference``; items without it are not judged in this respect.
        bands: What its scores mean; None for the usual bands, anchored on the reference.
    """

    en: str
    zh: str
    needs: Literal["system", "reference"] | None = None
    bands: Bands | None = None

    def question(self, language: Language) -> str:
        """Return the question in a language."""
        return self.zh if language == "zh" else self.en

    def own_bands(self, language: Language) -> str:
        """Return its own bands in a language, empty if it has none."""
        if self.bands is None:
            return ""
        return self.bands.zh if language == "zh" else self.bands.en

    def applies(self, item: Item) -> bool:
        """Tell whether an item can be judged in this respect."""
        if self.needs == "system":
            return any(message.get("role") == "system" for message in item.messages)
        return self.needs is None or item.reference is not None


class Usable(_Strict):
    """Which dimensions count for a task type, and when an answer is usable.

    Attributes:
        dimensions: Weight by name; 0 is judged and not counted.
        at_least: Lowest score by dimension: below it an answer is unusable whatever the rest.
        usable_from: The weighted mean from which an answer is usable.
    """

    dimensions: dict[str, float] = Field(min_length=1)
    at_least: dict[str, float] = Field(default_factory=dict)
    usable_from: float = Field(DEFAULT_USABLE_FROM, ge=LOWEST, le=HIGHEST)


class Usability(_Strict):
    """What the formula makes of one answer's scores.

    Attributes:
        usable: 1 or 0.
        score: The weighted mean, from 1 to 10.
        below: Dimensions below their lowest score.
    """

    usable: int
    score: float
    below: tuple[str, ...] = ()


class Plan(_Strict):
    """Dimensions, and the rules of task types by pattern; the first that fits is taken.

    Attributes:
        dimensions: By name.
        task_types: By pattern, such as ``writing/*``.
    """

    dimensions: dict[str, Dimension] = Field(default_factory=dict)
    task_types: dict[str, Usable] = Field(default_factory=dict)

    def rule(self, task_type: str) -> Usable:
        """Return how a task type is judged.

        Raises:
            EvaluationError: If no pattern fits.
        """
        for pattern, rule in self.task_types.items():
            if fnmatchcase(task_type, pattern):
                return rule
        raise EvaluationError("no pattern of the plan fits this task type.", where=task_type)

    def of_item(self, item: Item) -> dict[str, Dimension]:
        """Return the dimensions that an item is judged by, the weightiest first.

        Raises:
            EvaluationError: If none applies to it.
        """
        weights = self.rule(item.task_type).dimensions
        names = sorted(weights, key=lambda name: -weights[name])
        found = {n: self.dimensions[n] for n in names if self.dimensions[n].applies(item)}
        if not any(weights[name] for name in found):
            raise EvaluationError(
                "no dimension that counts applies to this item: it lacks what they need (a system "
                "message, a reference). Give its task type another dimension in the plan.",
                where=f"item {item.id} of {item.task_type}",
            )
        return found

    def usability(self, task_type: str, scores: Mapping[str, float]) -> Usability:
        """Turn the scores of one answer into usable or not.

        ``sum(weight * score) / sum(weight)`` over the dimensions it was judged by, at least
        ``usable_from``, and none below its lowest score.

        Args:
            task_type: Of the item.
            scores: By dimension, from 1 to 10.

        Example:
            >>> plan = load_plan()
            >>> plan.usability("math/sums", {"correct": 8, "follows_instruction": 4})
            Usability(usable=1, score=7.0, below=())
            >>> plan.usability("math/sums", {"correct": 6, "follows_instruction": 10})
            Usability(usable=0, score=7.0, below=('correct',))
        """
        rule = self.rule(task_type)
        weights = {name: rule.dimensions[name] for name in scores}
        mean = sum(weights[n] * scores[n] for n in scores) / sum(weights.values())
        below = tuple(n for n, low in rule.at_least.items() if n in scores and scores[n] < low)
        usable = mean >= rule.usable_from - 1e-9 and not below
        return Usability(usable=int(usable), score=mean, below=below)

    def fingerprint(self) -> str:
        """Hash the plan to 12 hexadecimal digits."""
        text = json.dumps(self.model_dump(), ensure_ascii=False, sort_keys=False)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def load_plan(path: Path | str | None = None) -> Plan:
    """Read a plan of one's own, laid over the shipped one; None is the shipped one.

    A dimension of one's own takes the place of the shipped one of its name, and patterns of one's
    own stand before the shipped ones.

    Raises:
        EvaluationError: If the file is not there or wrong; with its line.
        RecipeError: If it is not YAML.

    Example:
        >>> list(load_plan().rule("math/sums").dimensions)
        ['correct', 'follows_instruction']
    """
    shipped, _ = _read(SHIPPED)
    if path is None:
        return shipped
    own, lines = _read(Path(path))
    for name in own.dimensions:
        if "/" in name or not name.strip():
            raise EvaluationError(
                f"the dimension {name!r} needs a name without '/': its scores are kept as "
                "judge/NAME.",
                where=lines.get(("dimensions", name), str(path)),
            )
    whole = Plan(
        dimensions={**shipped.dimensions, **own.dimensions},
        task_types={
            **own.task_types,
            **{k: v for k, v in shipped.task_types.items() if k not in own.task_types},
        },
    )
    for pattern, rule in own.task_types.items():
        _check_rule(whole, pattern, rule, lines.get(("task_types", pattern), str(path)))
    return whole


def with_suite(plan: Plan, task_types: Mapping[str, TypeStakes]) -> Plan:
    """Lay over a plan what a suite says of its own task types: ``scorer: {judge: {...}}``.

    Raises:
        EvaluationError: If a suite's rule is wrong, or a scorer ``judge/NAME`` is of a dimension
            that its task type is not judged by.
    """
    own: dict[str, Usable] = {}
    for name, stakes in task_types.items():
        settings = stakes.settings.get(JUDGE)
        if settings:
            try:
                own[name] = Usable.model_validate(settings)
            except ValidationError as error:
                raise _plan_error(error, {}, Path(f"{name}: {JUDGE}"), Usable) from error
    made = plan.model_copy(update={"task_types": {**own, **plan.task_types, **own}})
    for name, rule in own.items():
        _check_rule(made, name, rule, f"{name}: {JUDGE}")
    for name, stakes in task_types.items():
        for scorer in (stakes.scorer, *stakes.also):
            dimension = scorer.removeprefix(f"{JUDGE}/")
            if dimension != scorer and dimension not in made.rule(name).dimensions:
                raise EvaluationError(
                    f"the suite wants the score {scorer}, and the plan judges {name} by "
                    f"{', '.join(made.rule(name).dimensions)}. Give it this dimension in a plan.",
                    where=name,
                )
    return made


def _read(path: Path) -> tuple[Plan, dict[KeyPath, str]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"the plan cannot be read: {error}.", where=str(path)) from error
    document = read_yaml(text, str(path))
    lines = {key: f"{path}:{line}" for key, line in document.lines.items()}
    try:
        return Plan.model_validate(document.value or {}), lines
    except ValidationError as error:
        raise _plan_error(error, lines, path) from error


def _plan_error(
    error: ValidationError,
    lines: Mapping[KeyPath, str],
    path: Path,
    kind: type[BaseModel] = Plan,
) -> EvaluationError:
    first = error.errors(include_url=False)[0]
    loc: KeyPath = tuple(part for part in first["loc"] if isinstance(part, str | int))
    written = next((lines[loc[:k]] for k in range(len(loc), 0, -1) if loc[:k] in lines), path)
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        if kind is Plan and len(loc) > 2:
            kind = Dimension if loc[0] == "dimensions" else Usable
        said = f"unknown key.{did_you_mean(str(loc[-1]), kind.model_fields)}"
    return EvaluationError(f"{'.'.join(map(str, loc)) or 'plan'}: {said}", where=str(written))


def _check_rule(plan: Plan, pattern: str, rule: Usable, where: str) -> None:
    """Check what stands in one rule against the whole plan."""
    for name in (*rule.dimensions, *rule.at_least):
        if name not in plan.dimensions:
            raise EvaluationError(
                f"{pattern}: no dimension {name!r}.{did_you_mean(name, plan.dimensions)}",
                where=where,
            )
    if unjudged := set(rule.at_least) - set(rule.dimensions):
        raise EvaluationError(
            f"{pattern}: {min(unjudged)} has a lowest score, and is no dimension of this task "
            "type; give it a weight, 0 if it shall not count.",
            where=where,
        )
    if not all(weight >= 0 for weight in rule.dimensions.values()) or not any(
        rule.dimensions.values()
    ):
        raise EvaluationError(
            f"{pattern}: weights must be 0 or more, and one above 0.", where=where
        )
