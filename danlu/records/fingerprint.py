"""One hash of everything that a reading depends on, for caches and for resuming."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from danlu.errors import RecordError
from danlu.records.source import DataFile, Source, expand
from danlu.records.tables import parse_hub_name


def fingerprint(sources: Sequence[Source]) -> str:
    """Hash the content of all files of the sources, and the settings with which they are read.

    Where the files lie does not matter, but for their names, which become task types. Of a hub
    dataset the revision stands for the content.

    Args:
        sources: In order; another order is another reading.

    Returns:
        32 hexadecimal digits (BLAKE2b).

    Raises:
        RecordError: If a source is not there, or the hub cannot be asked for its revision.
    """
    whole = hashlib.blake2b(digest_size=16)
    for source in sources:
        files, _ = expand(source)
        settings = [
            source.format,
            source.task_type,
            sorted(source.columns.items()),
            source.limit,
            [[file.stem, file.kind, _content(file, source)] for file in files],
        ]
        whole.update(json.dumps(settings, ensure_ascii=False).encode())
    return whole.hexdigest()


def _content(file: DataFile, source: Source) -> str:
    if file.kind == "hub":
        return f"{source.split}@{_revision(file.name)}"
    try:
        with open(file.name, "rb") as opened:
            return hashlib.file_digest(opened, hashlib.blake2b).hexdigest()
    except OSError as error:
        raise RecordError(f"cannot be read: {error.strerror or error}.", where=file.name) from error


def _revision(name: str) -> str:
    dataset, config, revision = parse_hub_name(name)
    if revision is None:
        from huggingface_hub import HfApi

        try:
            revision = HfApi().dataset_info(dataset).sha
        except OSError as error:
            raise RecordError(
                f"the hub cannot be asked for the dataset's revision ({error}). Name one, as in "
                f"hub:{dataset}@main.",
                where=name,
            ) from error
    return f"{dataset}:{config}@{revision}"
