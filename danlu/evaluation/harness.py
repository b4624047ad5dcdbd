"""Tasks of lm-evaluation-harness, through its own API, with a Danlu model behind it.

The harness renders its tasks and scores them, so figures are comparable with those of others; what
it asked and scored lands in the same folder as any evaluation. It gives plain texts, which are
tokenised as they stand, without a chat template unless asked for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import EvaluationError
from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.harness_model import harness_model
from danlu.evaluation.schema import AnswerRow, Evaluation, Item, ScoredAnswer, TypeStakes
from danlu.evaluation.summary import summarise

if TYPE_CHECKING:
    from danlu.evaluation.asking.local import LocalModel

PREFIX = "lm-eval:"
AREA = "lm_eval"
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
        model=harness_model(model),
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
