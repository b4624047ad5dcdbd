"""Records written for other programs, one module per format.

A format's ``row`` makes the row of a record, or raises ``UnfitError`` for what the format cannot
hold. To add one: its module, its test, and one line in ``EXPORTS``. Never here: reading
(``danlu.records.formats``).
"""

from danlu.workshop.exporting.alpaca import ALPACA
from danlu.workshop.exporting.danlu import DANLU
from danlu.workshop.exporting.form import Export, UnfitError
from danlu.workshop.exporting.openai import OPENAI
from danlu.workshop.exporting.sharegpt import SHAREGPT

EXPORTS: dict[str, Export] = {one.name: one for one in (DANLU, ALPACA, SHAREGPT, OPENAI)}

__all__ = ["EXPORTS", "Export", "UnfitError"]
