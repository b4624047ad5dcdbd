"""The dataset card (``README.md``) of a folder for the hub."""

from __future__ import annotations

from collections.abc import Mapping

from danlu.config.strict_yaml import write_yaml
from danlu.workshop.store.manifest import FileFormat
from danlu.workshop.store.version import Version

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(title: str, splits: Mapping[str, Version], file_format: FileFormat) -> str:
    """Write the card: what the hub reads at its top, and a table per task type.

    Args:
        title: Of the dataset.
        splits: Versions by the name of their split.
        file_format: Of the files in ``data``.
    """
    total = sum(len(version) for version in splits.values())
    files = [
        {"split": name, "path": f"data/{name}-00000-of-00001.{file_format}"} for name in splits
    ]
    head = {
        "pretty_name": title,
        "tags": ["danlu"],
        "size_categories": [next((name for limit, name in _SIZES if total < limit), "n>1M")],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    parts = [f"---\n{write_yaml(head)}---\n", f"# {title}\n"]
    parts.append(
        f"{total:,} records in Danlu's format: `messages`, `tools` where there are any, "
        "`task_type` (area/skill), `tags`, `source` and `meta`."
    )
    if file_format == "parquet":
        parts.append(
            "`messages`, `tools`, `responses`, `tags` and `meta` are JSON text, so that the "
            "arguments of tool calls stay exactly as they are: `json.loads(row['messages'])`."
        )
    parts += [_table(splits), _origin(splits)]
    return "\n".join([*parts[:2], *(f"{part}\n" for part in parts[2:])])


def _table(splits: Mapping[str, Version]) -> str:
    names = sorted({name for one in splits.values() for name in one.manifest.task_types})
    taxonomy = next((one.taxonomy for one in splits.values() if one.taxonomy), None)
    skills = taxonomy.skills if taxonomy else {}
    lines = [
        f"| task type | {' | '.join(splits)} | what it is |",
        f"|---|{'---:|' * len(splits)}---|",
    ]
    for name in names:
        counts = [one.manifest.task_types.get(name) for one in splits.values()]
        if not any(count and count.records for count in counts):
            continue
        numbers = " | ".join(f"{count.records if count else 0:,}" for count in counts)
        about = skills[name].description if name in skills else ""
        lines.append(f"| {name} | {numbers} | {about.replace('|', '/')} |")
    return "\n".join(lines)


def _origin(splits: Mapping[str, Version]) -> str:
    lines = ["Made with Danlu:", ""]
    for name, version in splits.items():
        manifest = version.manifest
        lines.append(
            f"- `{name}`: version `{version.id}`, by `{manifest.operation.name}`, content "
            f"`{manifest.content}`"
        )
    return "\n".join(lines)
