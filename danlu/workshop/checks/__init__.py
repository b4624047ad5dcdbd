"""Checks of data by task type: each one file, all in one explicit list.

``run_checks`` goes once through records and gives findings per record and a verdict per task type
and check; ``CheckOperation`` drops or tags records by findings that a user names. Never here:
anything that writes, and judgement by a model.
"""

from danlu.workshop.checks.check import (
    STATES,
    Check,
    Finding,
    Report,
    Rule,
    Running,
    Verdict,
    check_settings,
)
from danlu.workshop.checks.choice import Choices
from danlu.workshop.checks.code_blocks import CodeBlocks
from danlu.workshop.checks.configure import choose, configure, find_rules
from danlu.workshop.checks.conflicts import Conflicts
from danlu.workshop.checks.context import Context
from danlu.workshop.checks.expression import PromptExpression
from danlu.workshop.checks.forbidden import Forbidden
from danlu.workshop.checks.history import HistoryUse
from danlu.workshop.checks.json_answers import JsonAnswers
from danlu.workshop.checks.language import LanguageMix
from danlu.workshop.checks.leakage import Leakage
from danlu.workshop.checks.lengths import LengthBalance
from danlu.workshop.checks.loss_share import LossShare
from danlu.workshop.checks.mojibake import Mojibake
from danlu.workshop.checks.monotony import AnswerMonotony
from danlu.workshop.checks.operation import CheckRecords
from danlu.workshop.checks.own_checks import OwnChecks
from danlu.workshop.checks.personal import PersonalData
from danlu.workshop.checks.position import KeyPosition
from danlu.workshop.checks.punctuation import Punctuation
from danlu.workshop.checks.run import run_checks
from danlu.workshop.checks.special_tokens import SpecialTokens
from danlu.workshop.checks.structure import Structure
from danlu.workshop.checks.system_use import SystemUse
from danlu.workshop.checks.tool_calls import ToolCalls
from danlu.workshop.checks.truncation import Truncation

CHECKS: tuple[Check, ...] = (
    Structure(),
    JsonAnswers(),
    CodeBlocks(),
    Choices(),
    ToolCalls(),
    OwnChecks(),
    LengthBalance(),
    AnswerMonotony(),
    PromptExpression(),
    KeyPosition(),
    HistoryUse(),
    SystemUse(),
    Conflicts(),
    Leakage(),
    LanguageMix(),
    Mojibake(),
    Punctuation(),
    SpecialTokens(),
    Truncation(),
    PersonalData(),
    Forbidden(),
    LossShare(),
)
"""All checks, with default settings, in the order in which they are told of."""

__all__ = [
    "CHECKS",
    "STATES",
    "AnswerMonotony",
    "Check",
    "CheckRecords",
    "Choices",
    "CodeBlocks",
    "Conflicts",
    "Context",
    "Finding",
    "Forbidden",
    "HistoryUse",
    "JsonAnswers",
    "KeyPosition",
    "LanguageMix",
    "Leakage",
    "LengthBalance",
    "LossShare",
    "Mojibake",
    "OwnChecks",
    "PersonalData",
    "PromptExpression",
    "Punctuation",
    "Report",
    "Rule",
    "Running",
    "SpecialTokens",
    "Structure",
    "SystemUse",
    "ToolCalls",
    "Truncation",
    "Verdict",
    "check_settings",
    "choose",
    "configure",
    "find_rules",
    "run_checks",
]
