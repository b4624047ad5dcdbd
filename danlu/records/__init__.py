"""Records: what they are, reading them from files of many formats, writing and checking them.

Every reader gives the same ``Record``, with its task type, so that nothing further on knows which
format the data came in. Never here: what a chat template makes of a record, mixing and cleaning
(that is the workshop's), or any import of torch.
"""

from danlu.records.fingerprint import fingerprint
from danlu.records.formats import FORMATS, Format
from danlu.records.reading import Reading, read_records
from danlu.records.record import Message, Record, Response, content_id
from danlu.records.source import Source
from danlu.records.writing import to_row, write_records

__all__ = [
    "FORMATS",
    "Format",
    "Message",
    "Reading",
    "Record",
    "Response",
    "Source",
    "content_id",
    "fingerprint",
    "read_records",
    "to_row",
    "write_records",
]
