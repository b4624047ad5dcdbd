"""Branches that are too long: which are kept, and what is cut."""

from __future__ import annotations

import numpy as np
import pytest

from danlu.config.recipe import SequencesSection
from danlu.sequences.lengths import describe_fit, fit_lengths

# max_length 5. Fits exactly; one too long; completion alone too long; prompt alone too long.
PROMPT = np.array([3, 4, 1, 7])
COMPLETION = np.array([2, 2, 6, 1])


@pytest.mark.parametrize(
    ("overlong", "keep", "from_prompt", "from_completion"),
    [
        ("drop", [True, False, False, False], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("error", [True, False, False, False], [0, 0, 0, 0], [0, 0, 0, 0]),
        ("truncate_prompt_left", [True, True, False, True], [0, 1, 0, 3], [0, 0, 0, 0]),
        ("truncate_completion", [True, True, True, False], [0, 0, 0, 0], [0, 1, 2, 0]),
    ],
)
def test_fit(overlong, keep, from_prompt, from_completion):
    settings = SequencesSection(max_length=5, overlong=overlong)
    fit = fit_lengths(PROMPT, COMPLETION, settings)
    assert fit.keep.tolist() == keep
    assert fit.from_prompt.tolist() == from_prompt
    assert fit.from_completion.tolist() == from_completion


def test_at_least_one_token_of_the_prompt_is_left_to_predict_from():
    settings = SequencesSection(max_length=5, overlong="truncate_prompt_left")
    assert fit_lengths(np.array([9, 9]), np.array([4, 5]), settings).keep.tolist() == [True, False]


def test_reasons():
    left = SequencesSection(max_length=1000, overlong="truncate_prompt_left")
    detail = "1,003 tokens (prompt 3, completion 1,000); max_length is 1,000"
    assert describe_fit(False, 3, 1000, left) == ("overlong", detail)
    assert describe_fit(True, 3, 1000, left) == ("prompt truncated", detail)
    right = SequencesSection(max_length=1000, overlong="truncate_completion")
    assert describe_fit(True, 3, 1000, right) == ("completion truncated", detail)
