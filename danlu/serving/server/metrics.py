"""What Prometheus reads: requests, tokens, times, and what the engines have under way."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from danlu.serving.gateway.routed import Routed
    from danlu.serving.server.served import Served

FIRST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WHOLE_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The numbers of one server.

    Args:
        served: Its models.
        routed: Those that other servers answer for.
    """

    def __init__(self, served: Sequence[Served], routed: Sequence[Routed] = ()) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "danlu_requests",
            "Requests, by route and status.",
            ["route", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "danlu_request_seconds",
            "Time from request to the end of the response.",
            ["route"],
            buckets=WHOLE_S,
            registry=self._registry,
        )
        self.first = Histogram(
            "danlu_first_byte_seconds",
            "Time from request to the response's first byte.",
            ["route"],
            buckets=FIRST_S,
            registry=self._registry,
        )
        self.lost = Counter(
            "danlu_capture_lost",
            "Conversations that were answered and could not be written down.",
            registry=self._registry,
        )
        self._registry.register(_Engines(served, routed))

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text form."""
        return generate_latest(self._registry)


class _Engines:
    """Reads the engines' own counts when it is asked."""

    def __init__(self, served: Sequence[Served], routed: Sequence[Routed]) -> None:
        engines = {id(one.engine): (one.name, one.engine.counts) for one in reversed(served)}
        self._counts = [*engines.values(), *((one.name, one.counts) for one in routed)]

    def collect(self) -> Iterator[Any]:
        """Return the metrics as they are now."""
        sums = {
            "danlu_prompt_tokens": ("Tokens of prompts.", "prompt_tokens"),
            "danlu_shared_tokens": ("Tokens of prompts known from earlier ones.", "shared_tokens"),
            "danlu_answer_tokens": ("Tokens of answers.", "answer_tokens"),
            "danlu_steps": ("Steps computed.", "steps"),
        }
        for name, (text, field) in sums.items():
            yield self._family(CounterMetricFamily(name, text, labels=["model"]), field)
        for name, (text, field) in {
            "danlu_running": ("Answers under way.", "running"),
            "danlu_waiting": ("Requests waiting.", "waiting"),
        }.items():
            yield self._family(GaugeMetricFamily(name, text, labels=["model"]), field)
        memory = GaugeMetricFamily("danlu_peak_memory_bytes", "Most memory the process had.")
        unit = 1 if sys.platform == "darwin" else 1024
        memory.add_metric([], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
        yield memory

    def describe(self) -> Iterable[Any]:
        """Return nothing: the numbers are read when they are asked for."""
        return ()

    def _family(self, family: Any, field: str) -> Any:
        for name, counts in self._counts:
            family.add_metric([name], getattr(counts, field))
        return family
