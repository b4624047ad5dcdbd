"""A reduced form of ``tools/planted_faults.py``: the built-in model, two steps a run."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "planted_faults.py"


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("planted_faults", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted_faults"] = module
    spec.loader.exec_module(module)
    return module


def test_the_cases_are_ten_and_ten_of_records_that_can_be_read(tool):
    assert (len(tool.faulty()), len(tool.sound())) == (10, 10)
    cases = [*tool.faulty(), *tool.sound()]
    assert len({case.name for case in cases}) == 20
    for case in cases:
        assert case.task_type in {None, *(row["task_type"] for row in case.rows)}
        for rows in (case.rows, case.held_out):
            assert len({row["id"] for row in rows}) == len(rows), case.name


@pytest.mark.slow
def test_shifted_labels_are_found_and_a_sound_run_is_left_alone(tool, tmp_path):
    brief = {"training.max_steps": 2, "training.batch_records": 4}
    named = {case.name: case for case in [*tool.faulty(), *tool.sound()]}
    for name in ("shifted-labels", "sound-1"):
        case = named[name]
        settings = {**case.settings, **brief}
        short = replace(case, rows=case.rows[::4], held_out=case.held_out[:3], settings=settings)
        found = tool.diagnosed(tool.trained(short, tmp_path))
        assert tool.right(short, found), (name, found)
        assert bool(found and found[0].confidence == "high") == bool(case.expected)
