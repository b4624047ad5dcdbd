"""Does the answer's code pass its tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from danlu.errors import EvaluationError
from danlu.evaluation.scorers import extract
from danlu.evaluation.scorers.sandbox import run_sandboxed
from danlu.evaluation.scorers.score import Score


@dataclass(frozen=True, slots=True)
class UnitTests:
    """1 if the Python code in the answer passes all its tests, else 0; missing if there is no code.

    The code runs in a process of its own under guards; see ``sandbox`` for what these hold and what
    they do not.

    Attributes:
        time_s: By the clock, of code and tests together; what runs past it has failed.
        memory_mb: Of address space.
        extract: Rules of ``extract``, tried in this order.

    Raises:
        EvaluationError: If a limit is not above 0, or a rule is unknown.
    """

    time_s: float = 10.0
    memory_mb: int = 512
    extract: tuple[str, ...] = ("fence", "whole")

    def __post_init__(self) -> None:
        extract.check_rules(self.extract)
        for name in ("time_s", "memory_mb"):
            if not getattr(self, name) > 0:
                raise EvaluationError("must be above 0.", where=name)

    def score(self, answer: str, reference: Any) -> Score:
        """Run one answer's code, then its tests.

        Args:
            answer: What the model said.
            reference: The tests as Python, or ``{"tests": ..., "before": ...}``, where ``before``
                stands before the code (the prompt of a HumanEval problem).

        Raises:
            EvaluationError: If there are no tests, or code cannot be guarded here.
        """
        parts = reference if isinstance(reference, Mapping) else {"tests": reference}
        tests, before = parts.get("tests"), parts.get("before", "")
        if not isinstance(tests, str) or not tests.strip():
            raise EvaluationError("the reference has no tests: everything would pass.")
        code = extract.extract(answer, self.extract)
        if code is None:
            return Score(None, why="it has no code")
        if before and self.extract[-1] == "whole" and extract.extract(answer, ("fence",)) is None:
            code = answer  # a completion of the prompt: its indentation is part of it
        outcome = run_sandboxed(
            [("answer.py", before + code), ("tests.py", tests)],
            time_s=self.time_s,
            memory_bytes=self.memory_mb << 20,
        )
        if outcome.finished:
            return Score(1.0)
        if outcome.timed_out:
            return Score(0.0, why=f"it ran past {self.time_s:g} s")
        lines = outcome.output.strip().splitlines()
        return Score(0.0, why=lines[-1] if lines else "it ended before its tests did")
