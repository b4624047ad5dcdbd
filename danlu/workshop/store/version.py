"""A dataset version: records, manifest and ledger, never changed once they are there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.records import Record, Source
from danlu.records.lines import decode_record
from danlu.workshop.execution.blocks import Block, damaged, line_blocks
from danlu.workshop.store.decision import Entry
from danlu.workshop.store.ledger import read_ledger
from danlu.workshop.store.manifest import Manifest, read_manifest
from danlu.workshop.store.writer import LEDGER

if TYPE_CHECKING:
    from danlu.workshop.taxonomy import Taxonomy

MANIFEST, REJECTED = "manifest.json", "rejected.jsonl"


class Version:
    """One version in a store.

    Args:
        path: Its folder.
        is_new: Whether it was made just now.

    Attributes:
        path: Its folder.
        is_new: Whether the call that returned it made it; False if it was there already.
    """

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        self.path = path
        self.is_new = is_new

    def __len__(self) -> int:
        return self.manifest.records

    def __bool__(self) -> bool:
        """A version is there, even one without records."""
        return True

    @property
    def id(self) -> str:
        """Hash of the operation, its settings, and the content that it was given."""
        return self.path.name

    @cached_property
    def manifest(self) -> Manifest:
        """What the version says of itself."""
        return read_manifest(self.path / MANIFEST)

    @property
    def records_path(self) -> Path:
        """The file of records."""
        return self.path / f"records.{self.manifest.file_format}"

    @property
    def ledger_path(self) -> Path:
        """The ledger."""
        return self.path / LEDGER

    @property
    def rejected_path(self) -> Path:
        """Rows of imported files that were no records; not there if there were none."""
        return self.path / REJECTED

    @cached_property
    def taxonomy(self) -> Taxonomy | None:
        """The task types that the records may have; None if nobody has said."""
        from danlu.workshop.taxonomy import Taxonomy

        tree = self.manifest.taxonomy
        return None if tree is None else Taxonomy.from_tree(tree, str(self.path / MANIFEST))

    def records(self) -> Iterator[Record]:
        """Stream the records.

        Raises:
            StoreError: If the file is not as it was written.
        """
        count = 0
        try:
            for record in self._read():
                count += 1
                yield record
        except FileNotFoundError as error:
            raise damaged("the file of records is missing", self.records_path) from error
        except ValueError as error:
            raise damaged(str(error), self.records_path, count + 1) from error
        if count != self.manifest.records:
            found = f"it has {count:,} records, not {self.manifest.records:,}"
            raise damaged(found, self.records_path, count)

    def blocks(self) -> Iterator[Block]:
        """Return the records in blocks, which can be read apart from one another.

        Raises:
            StoreError: If the file is not as it was written.
        """
        if self.manifest.file_format == "parquet":
            from danlu.workshop.store.parquet import row_groups

            return row_groups(self.records_path)
        return line_blocks(self.records_path, self.manifest.records)

    def _read(self) -> Iterator[Record]:
        if self.manifest.file_format == "parquet":
            from danlu.workshop.store.parquet import read_parquet

            yield from read_parquet(self.records_path)
            return
        with self.records_path.open("rb") as file:
            for line in file:
                yield decode_record(line)

    def ledger(self) -> Iterator[Entry]:
        """Stream the ledger, one row per record kept, dropped, edited or made.

        Raises:
            StoreError: If it is broken.
        """
        return read_ledger(self.ledger_path)

    def source(self) -> Source:
        """Return the records as a source, for whatever reads records from files."""
        return Source(str(self.records_path), format="danlu")
