"""The run directory: its schema, writing and reading it, and the report made from it.

What writes here (training) and what reads here (report, diagnosis, studio, chat) meet only in
these files. Never here: torch, or any thought of how a number came about.
"""

from danlu.runs.directory import RunDirectory
from danlu.runs.environment import collect_environment
from danlu.runs.figures import Figures, figures, summarise
from danlu.runs.history import History
from danlu.runs.report import write_report
from danlu.runs.schema import (
    ChannelMetrics,
    Dropped,
    Environment,
    MetricsRow,
    Rejected,
    Resolved,
    Sample,
    ScoreRow,
    Split,
    State,
    Status,
    Summary,
)

__all__ = [
    "ChannelMetrics",
    "Dropped",
    "Environment",
    "Figures",
    "History",
    "MetricsRow",
    "Rejected",
    "Resolved",
    "RunDirectory",
    "Sample",
    "ScoreRow",
    "Split",
    "State",
    "Status",
    "Summary",
    "collect_environment",
    "figures",
    "summarise",
    "write_report",
]
