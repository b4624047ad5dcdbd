"""Rewards of sampled answers: a Python function, or a reward model that Danlu has trained.

A function is called once for each answer, as ``function(answer, record)``: the text without special
tokens, and the record with its task type, its messages (its own answer last, if it has one) and its
``meta``. It returns a number, and more is better. A reward that crashes or is no finite number
stops the run; it never becomes 0.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import numbers
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from danlu.config.recipe import Recipe, SequencesSection
from danlu.errors import DanluError, ModelError, RecipeError, TrainingError, did_you_mean
from danlu.generation import Completion
from danlu.models.forest_support import use_forest_attention
from danlu.models.load import load_model, load_tokenizer
from danlu.models.readout import Readout
from danlu.models.source import resolve, run_model
from danlu.records import Message, Record
from danlu.sequences.branch import Branch
from danlu.sequences.branches import record_turns
from danlu.sequences.encode import Encoder
from danlu.sequences.prompts import prompt_messages
from danlu.sequences.template import ChatTemplate
from danlu.training.scoring import Packing, token_states

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WHERE = "rollouts.reward"
SHOWN_CHARACTERS = 1000
"""Most of an answer that an error message shows."""


class Reward(Protocol):
    """Says what answers are worth."""

    def __call__(self, records: Sequence[Record], completions: Sequence[Completion]) -> list[float]:
        """Return one finite number per answer.

        Args:
            records: What each answers.
            completions: The answers.

        Raises:
            TrainingError: If there is none; it names the record and shows the answer.
        """


def must_name_reward(recipe: Recipe) -> None:
    """Refuse a recipe without a reward, before anything is made for it.

    Raises:
        RecipeError: If there is none.
    """
    if not recipe.rollouts.reward:
        raise RecipeError(
            f"objective {recipe.objective.name} needs to know what an answer is worth. Name a "
            "function as file.py:function, or the run directory of a reward model.",
            where=WHERE,
        )


def load_reward(
    recipe: Recipe, packing: Packing, *, device: torch.device, dtype: torch.dtype
) -> Reward:
    """Find the reward that a recipe names.

    Args:
        recipe: ``rollouts.reward``.
        packing: How a reward model computes answers.
        device: Where it does.
        dtype: In which number format.

    Raises:
        RecipeError: If nothing is named, or the function is not there.
        ModelError: If the model is not there, or was not trained as a reward model.
    """
    must_name_reward(recipe)
    name = str(recipe.rollouts.reward)
    if not Path(name).is_dir() and ":" in name:
        return RuleReward(name, _function(name))
    try:
        return ModelReward.load(
            name,
            packing,
            device=device,
            dtype=dtype,
            trust_remote_code=recipe.model.trust_remote_code,
        )
    except ModelError as error:
        raise ModelError(error.message, where=f"{WHERE}: {error.where or name}") from error


@dataclass(frozen=True)
class RuleReward:
    """A Python function as a reward.

    Attributes:
        name: As the recipe names it.
        function: Takes an answer's text and its record, returns a number.

    Example:
        >>> reward = RuleReward("rules.py:short", lambda answer, record: -len(answer))
        >>> reward([Record("1", "a/b", ())], [Completion("hello", (5,), None, True)])
        [-5.0]
    """

    name: str
    function: Callable[[str, Record], Any]

    def __call__(self, records: Sequence[Record], completions: Sequence[Completion]) -> list[float]:
        """Call the function once for each answer."""
        return [
            self._one(record, completion)
            for record, completion in zip(records, completions, strict=True)
        ]

    def _one(self, record: Record, completion: Completion) -> float:
        try:
            value = self.function(completion.text, record)
        except DanluError:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            problem = (
                f"{self.name} raised {type(error).__name__}: {error} ({last.filename}:"
                f"{last.lineno})"
            )
            raise _no_reward(problem, record, completion) from error
        if not isinstance(value, (numbers.Real, np.bool_)):
            problem = f"{self.name} returned {value!r}, which is no number"
            raise _no_reward(problem, record, completion)
        return _finite(float(value), self.name, record, completion)


class ModelReward:
    """A reward model that Danlu has trained: a readout of an answer's last token.

    Answers are rendered and encoded by its own template and tokenizer, as those it was trained on.

    Args:
        name: As the recipe names it.
        model: Its language model, on its device.
        readout: Its head.
        tokenizer: Its tokenizer.
        template: Its chat template.
        packing: How answers are laid out; the prompt of a group is computed once.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        readout: Readout,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatTemplate,
        packing: Packing,
    ) -> None:
        self.name = name
        self.model = model
        self.readout = readout
        self.template = template
        self.packing = packing
        self.encoder = Encoder(tokenizer, boundary=template.stop_tokens[0])
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.context_tokens = limit if isinstance(limit, int) and limit > 0 else None

    @classmethod
    def load(
        cls,
        name: str,
        packing: Packing,
        *,
        device: torch.device,
        dtype: torch.dtype,
        trust_remote_code: bool = False,
    ) -> ModelReward:
        """Load a reward run, or the folder that it has saved.

        Raises:
            ModelError: If there is none, or it was not trained as a reward model.
        """
        source = resolve(name)
        if source.kind == "run":
            assert source.path is not None
            source = run_model(source.path)
        if source.path is None or not source.path.is_dir():
            raise ModelError(
                "this is no reward model: name the run directory of a training with objective "
                "reward, or a function as file.py:function."
            )
        readout = Readout.load(source.path, device=device)
        if readout.info.names != ("reward",):
            raise ModelError(
                f"its head reads {', '.join(readout.info.names)}, and no reward: it was trained "
                "with another objective.",
                where=str(source.path),
            )
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        tokenizer = load_tokenizer(source, **options)
        model = load_model(source, dtype=dtype, device=device, **options)
        model.requires_grad_(False)
        forest = packing.forest and use_forest_attention(model) is None
        template = ChatTemplate.load(tokenizer)
        layout = replace(packing, forest=forest, whole_records=False)
        return cls(name, model, readout, tokenizer, template, layout)

    @torch.no_grad()
    def __call__(self, records: Sequence[Record], completions: Sequence[Completion]) -> list[float]:
        """Read the score of each answer."""
        branches = self._branches(records, completions)
        scores = [math.nan] * len(branches)
        for pack in self.packing.packs(branches) if branches else ():
            states_TD = token_states(self.model, pack)
            last_AD = states_TD[torch.from_numpy(pack.last).to(states_TD.device)]
            for member, score in zip(pack.members, self.readout(last_AD)[:, 0], strict=True):
                scores[int(member)] = float(score)
        return [
            _finite(score, self.name, record, completion)
            for score, record, completion in zip(scores, records, completions, strict=True)
        ]

    def _branches(
        self, records: Sequence[Record], completions: Sequence[Completion]
    ) -> list[Branch]:
        texts: list[str] = []
        for record, completion in zip(records, completions, strict=True):
            texts += self._texts(record, completion)
        ids, offsets = self.encoder.encode(texts, [False, True] * len(records))
        numbers_of: dict[str, int] = {}
        branches = []
        for place, record in enumerate(records):
            start, middle, end = (int(offsets[2 * place + k]) for k in range(3))
            if self.context_tokens is not None and end - start > self.context_tokens:
                problem = (
                    f"prompt and answer have {end - start:,} tokens for the reward model "
                    f"{self.name}, whose context ends at {self.context_tokens:,}"
                )
                raise _no_reward(problem, record, completions[place])
            number = numbers_of.setdefault(record.id, len(numbers_of))
            weights = np.zeros(end - start, np.float32)
            branches.append(Branch(ids[start:end], weights, number, place, 0, middle - start))
        return branches

    def _texts(self, record: Record, completion: Completion) -> tuple[str, str]:
        """Return prompt and answer as text, the answer with its stop token."""
        asked = prompt_messages(record)
        if not completion.text.strip():
            messages = [message.as_dict() for message in asked]
            tools = [dict(tool) for tool in record.tools] or None
            return self.template.render(messages, tools, True), self.template.stop_tokens[0]
        answered = (*asked, Message("assistant", completion.text))
        whole = replace(record, messages=answered, responses=())
        [turn] = record_turns(whole, self.template, SequencesSection(turns="last"), [])
        return turn.prompt_text, turn.completion_text


def _function(name: str) -> Callable[[str, Record], Any]:
    """Import the function that ``file.py:function`` or ``module:function`` means.

    Raises:
        RecipeError: If there is no such file, module or function.
    """
    place, _, function_name = name.rpartition(":")
    module = _file_module(Path(place)) if place.endswith(".py") else _named_module(place)
    found = getattr(module, function_name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise RecipeError(
            f"{place} has no function {function_name!r}.{did_you_mean(function_name, known)}",
            where=WHERE,
        )
    function: Callable[[str, Record], Any] = found
    return function


def _file_module(path: Path) -> ModuleType:
    if not path.is_file():
        raise RecipeError(f"there is no file {path}.", where=WHERE)
    # Its own name, so that no installed module is shadowed; registered, as dataclasses need it.
    name = f"danlu_reward_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeError(
            f"{path} cannot be imported: {type(error).__name__}: {error}", where=WHERE
        ) from error
    return module


def _named_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RecipeError(
            f"the module {name!r} cannot be imported: {error}. Install it, or name a file: "
            "rules.py:function.",
            where=WHERE,
        ) from error


def _finite(value: float, name: str, record: Record, completion: Completion) -> float:
    if not math.isfinite(value):
        raise _no_reward(f"{name} gave the reward {value}", record, completion)
    return value


def _no_reward(problem: str, record: Record, completion: Completion) -> TrainingError:
    text = completion.text
    cut = f" (the first {SHOWN_CHARACTERS} of {len(text):,} characters)"
    shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS]
    return TrainingError(
        f"{problem}. A reward must be a finite number. The answer was {shown!r}"
        f"{cut if shown != text else ''}. Mend the reward, and go on with --resume.",
        where=f"record {record.id}",
    )
