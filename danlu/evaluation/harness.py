"""Tasks of lm-evaluation-harness, through its own API, with a Danlu model behind it.

The harness renders its tasks and scores them, so figures are comparable with those of others; what
it asked and scored lands in the same folder as any evaluation. It gives plain texts, which are
tokenised as they stand, without a chat template unless asked for one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import EvaluationError
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.schema import AnswerRow, Evaluation, Item, ScoredAnswer, TypeStakes
from danlu.evaluation.summary import summarise
from danlu.generation.interface import Sampling

if TYPE_CHECKING:
    from danlu.evaluation.asking.local import LocalModel

PREFIX = "lm-eval:"
AREA = "lm_eval"
MAX_NEW_TOKENS = 256
"""Of answers, where a task does not say."""
NOT_METRICS = frozenset(
    ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics")
)


def run_harness(
    tasks: Sequence[str],
    model: LocalModel,
    place: Path,
    *,
    limit: int | None = None,
    chat_template: bool = False,
) -> EvalDirectory:
    """Run tasks of the harness, and write what it found as an evaluation.

    Args:
        tasks: Their names; or YAML files of tasks.
        model: Who is asked; in this process.
        place: The evaluation's folder.
        limit: The first so many documents of each task.
        chat_template: Let the harness put its texts into the model's chat template.

    Raises:
        EvaluationError: If the harness is not installed, does not know a task, or gives no scores.
    """
    evaluator, manager = _harness()
    began = datetime.now(UTC)
    folders = {str(Path(task).parent) for task in tasks if _is_file(task)}
    known = manager(include_path=sorted(folders) or None)
    names = [_task_name(task) if _is_file(task) else task for task in tasks]
    for name in names:
        if name not in known.all_tasks:
            raise EvaluationError("the harness has no such task.", where=f"{PREFIX}{name}")
    found = evaluator(
        model=_wrapped(model),
        tasks=names,
        limit=limit,
        log_samples=True,
        bootstrap_iters=0,
        apply_chat_template=chat_template,
        task_manager=known,
    )
    if not found or not found.get("samples"):
        raise EvaluationError("the harness gave no scored samples.", where=", ".join(names))
    return _written(found["samples"], model, place, began)


def _harness() -> tuple[Any, Any]:
    try:
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise EvaluationError(
            "tasks of lm-evaluation-harness need it, and it is not installed. Install it with "
            f"pip install 'danlu[lm-eval]'. ({error})"
        ) from error
    return simple_evaluate, TaskManager


def _is_file(task: str) -> bool:
    return task.endswith((".yaml", ".yml"))


def _task_name(task: str) -> str:
    from danlu.config.strict_yaml import read_yaml

    try:
        tree = read_yaml(Path(task).read_text("utf-8"), task).value
    except OSError as error:
        raise EvaluationError(f"cannot be read: {error.strerror}.", where=task) from error
    if not isinstance(tree, dict) or not isinstance(tree.get("task"), str):
        raise EvaluationError("a task of the harness has a name under task.", where=task)
    return str(tree["task"])


def _wrapped(model: LocalModel) -> Any:
    """Return the model as the harness's ``LM``."""
    from lm_eval.api.model import LM
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    from danlu.sequences.encode import encode_prompt

    generator: Any = model.generator
    likelihoods = model.likelihood_model()
    tokenizer = generator.tokenizer

    def encode(text: str) -> list[int]:
        return encode_prompt(tokenizer, text)

    def prefix() -> int:
        known = (tokenizer.bos_token_id, tokenizer.eos_token_id)
        return int(next((one for one in known if one is not None), 0))

    def cut(before: list[int], after: list[int]) -> tuple[list[int], list[int]]:
        """Keep the end of what is before, as the harness does, where both are too long."""
        limit = generator.context_tokens
        if limit is not None:
            after = after[-(limit - 1) :]
            before = before[-(limit - len(after)) :]
        return before, after

    class Danlu(LM):  # type: ignore[misc]
        """A Danlu model."""

        @property
        def tokenizer_name(self) -> str:
            """Of the cache's key."""
            return model.asked.fingerprint

        def chat_template(self, chat_template: bool | str = False) -> str | None:
            """Return what the harness writes down."""
            return "" if chat_template else None

        def apply_chat_template(
            self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
        ) -> str:
            """Render a conversation."""
            text: str = generator.template.render(
                chat_history, None, add_generation_prompt=add_generation_prompt
            )
            return text

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            """Return the log-probability of texts after texts, and whether each is the likeliest.

            As the harness has it, spaces at the end of the first go to the second, and both are
            tokenised together.
            """
            pairs = []
            for request in requests:
                before, after = request.args
                kept = before.rstrip()
                after, before = before[len(kept) :] + after, kept
                if before:
                    ids = encode(before)
                    pairs.append(cut(ids, encode(before + after)[len(ids) :]))
                else:
                    pairs.append(cut([prefix()], encode(after)))
            found = likelihoods.after_tokens(pairs)
            return [(one.logprob or 0.0, one.greedy) for one in found]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            """Return the log-probability of whole texts, in windows of the model's context."""
            sums = []
            for request in requests:
                windows = get_rolling_token_windows(
                    token_list=encode(request.args[0]),
                    prefix_token=prefix(),
                    max_seq_len=(generator.context_tokens or 2048) - 1,
                    context_len=1,
                )
                pairs = [make_disjoint_window(window) for window in windows]
                found = likelihoods.after_tokens(pairs)
                sums.append(math.fsum(one.logprob or 0.0 for one in found))
            return sums

        def generate_until(self, requests: list[Any]) -> list[str]:
            """Return answers, each cut before the first text that ends it."""
            answers = [""] * len(requests)
            groups: dict[Sampling, list[int]] = {}
            for number, request in enumerate(requests):
                groups.setdefault(_sampling(request.args[1]), []).append(number)
            for sampling, numbers in groups.items():
                room = generator.context_tokens
                prompts = [encode(requests[number].args[0]) for number in numbers]
                if room is not None:
                    prompts = [ids[-max(1, room - sampling.max_new_tokens) :] for ids in prompts]
                for place, one in generator.answer_each(prompts, sampling):
                    until = requests[numbers[place]].args[1].get("until") or []
                    ends = [until] if isinstance(until, str) else until
                    answers[numbers[place]] = _ended(one.text, ends)
            return answers

    return Danlu()


def _sampling(arguments: Mapping[str, Any]) -> Sampling:
    most = int(arguments.get("max_gen_toks") or MAX_NEW_TOKENS)
    temperature = float(arguments.get("temperature") or 0.0)
    if not arguments.get("do_sample") or not temperature:
        return Sampling(most, greedy=True)
    return Sampling(most, temperature=temperature, top_p=float(arguments.get("top_p") or 1.0))


def _ended(text: str, ends: Sequence[str]) -> str:
    """Cut a text before the first of its ends.

    Example:
        >>> _ended("42. Question: more", ["Question:", ". "])
        '42'
    """
    places = [place for end in ends if end and (place := text.find(end)) >= 0]
    return text[: min(places)] if places else text


# What the harness found, as an evaluation ------------------------------------------------


def _written(
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    model: LocalModel,
    place: Path,
    began: datetime,
) -> EvalDirectory:
    items: list[Item] = []
    answers: list[AnswerRow] = []
    scores: list[ScoredAnswer] = []
    types: dict[str, TypeStakes] = {}
    for task, rows in sorted(samples.items()):
        task_type = f"{AREA}/{task}"
        metrics = _metrics(rows)
        if not metrics:
            raise EvaluationError("the harness scores no sample of this task.", where=task)
        values = [float(row[metrics[0]]) for row in rows]
        types[task_type] = TypeStakes(
            scorer=f"{AREA}/{metrics[0]}",
            also=tuple(f"{AREA}/{name}" for name in metrics[1:]),
            low=min(0.0, *values),
            high=max(1.0, *values),
        )
        for row in rows:
            item = _item(task, task_type, row)
            items.append(item)
            answers.append(AnswerRow(item=item.id, text=_answer(row)))
            scores += [
                ScoredAnswer(
                    item=item.id,
                    task_type=task_type,
                    scorer=f"{AREA}/{name}",
                    value=float(row[name]),
                    details={"resps": row.get("filtered_resps")},
                )
                for name in metrics
            ]
    from danlu.evaluation.suites.suite import Suite

    suite = Suite(f"{PREFIX}{','.join(sorted(samples))}", types, tuple(items))
    evaluation = Evaluation(
        suite=suite.name,
        suite_fingerprint=suite.fingerprint,
        model=model.asked,
        sampling={"by": "lm-evaluation-harness"},
        seeds=(0,),
        task_types=types,
        versions=_versions(),
        started_at=began,
    )
    with EvalDirectory.create(place, evaluation, items) as directory:
        directory.append_answers(answers)
        directory.write_scores(scores)
        seconds = (datetime.now(UTC) - began).total_seconds()
        directory.finish(summarise(directory, scores, seconds))
    return directory


def _metrics(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of what every sample has as a number, in the harness's order."""
    return [
        key
        for key in rows[0]
        if key not in NOT_METRICS
        and all(isinstance(row.get(key), int | float) for row in rows)
        and not key.endswith("_hash")
    ]


def _item(task: str, task_type: str, row: Mapping[str, Any]) -> Item:
    arguments = row["arguments"]
    first = arguments["gen_args_0"]["arg_0"] if isinstance(arguments, Mapping) else arguments[0][0]
    return Item(
        id=f"{task}-{row['doc_id']}",
        task_type=task_type,
        messages=({"role": "user", "content": str(first)},),
        reference=str(row["target"]),
        source="lm-evaluation-harness",
    )


def _answer(row: Mapping[str, Any]) -> str:
    """Return an answer as text; of log-probabilities, all of them."""
    found = row["resps"]
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found if isinstance(found, str) else str(found)


def _versions() -> dict[str, str]:
    from importlib import metadata

    from danlu import __version__

    try:
        return {"danlu": __version__, "lm-eval": metadata.version("lm-eval")}
    except metadata.PackageNotFoundError:
        return {"danlu": __version__}
