from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys

import pytest

from danlu.runs import collect_environment


def test_versions_are_told_without_importing_anything_heavy():
    code = (
        "import sys; from danlu.runs import collect_environment as c; c();"
        "print(*sorted({m.split('.')[0] for m in sys.modules}"
        " & {'torch', 'transformers', 'numpy', 'PIL', 'jinja2', 'matplotlib'}))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (out.stdout.strip(), out.stderr) == ("", "")


def test_a_package_that_is_not_there_is_none(monkeypatch):
    monkeypatch.setattr("danlu.runs.environment.PACKAGES", ("no-such-package",))
    versions = collect_environment().versions
    assert versions == {"python": platform.python_version(), "no-such-package": None}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_folder(tmp_path):
    assert collect_environment(tmp_path).commit is None
    for command in (
        ["init", "-q"],
        ["config", "user.email", "a@b.c"],
        ["config", "user.name", "a"],
        ["commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    found = collect_environment(tmp_path)
    assert found.commit is not None
    assert len(found.commit) == 40
    assert found.uncommitted_changes is False
    (tmp_path / "a").write_text("a")
    subprocess.run(["git", "-C", str(tmp_path), "add", "a"], check=True)
    assert collect_environment(tmp_path).uncommitted_changes is True


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = collect_environment(tmp_path)
    assert (found.commit, found.uncommitted_changes) == (None, None)
