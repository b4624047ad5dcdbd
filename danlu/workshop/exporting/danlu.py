"""Danlu's own format: everything that a record has."""

from __future__ import annotations

from danlu.records import to_row
from danlu.workshop.exporting.form import Export

DANLU = Export(name="danlu", leaves_out=(), row=to_row)
