"""Take a picture of every page of the studio in both themes, into ``docs/images``.

``python -m tools.studio_screenshots [--workspace DIR] [--only NAME]``; without a workspace, one is
made of arithmetic. Needs chromium and the package playwright.

Those of runs, data, evaluation and cases are of the tutorial's runs, in the folder that
``tools/compare_tutorial.py --work DIR`` leaves. Those of diagnosis, findings and squeeze are of a
workspace with a run that ``danlu probe pattern`` has looked at, and a ``danlu squeeze``.
"""

from __future__ import annotations

import argparse
import tempfile
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from danlu.runs.findings import Evidence, Finding, ProbeReport, Remedy, write_probe
from danlu.runs.notes import write_notes
from danlu.studio.pages import PAGES
from tests.runs.synthetic_run import make_run
from tests.studio.browser import Visit, browser
from tests.studio.running import running
from tools.studio_example import (
    DATASET,
    add_dataset,
    add_models,
    add_sweep,
    add_votes,
    make_talk,
)

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SIZE = {"width": 1440, "height": 900}
MODEL = "builtin:smollm2-135m-instruct"
THEMES = {"light": "en-GB", "dark": "zh-CN"}
"""Each theme in one language, so that the pictures show both."""


def pictures(workspace: Path) -> dict[str, str]:
    """Return the pages to be shown, by the name of their picture."""
    found = {page.name: page.path for page in PAGES}
    runs = sorted(path.parent.name for path in (workspace / "runs").glob("*/summary.json"))
    if runs:
        found["run"] = f"/runs/show/runs/{runs[0]}"
        found["runs-overlaid"] = "/runs/compare?" + "&".join(f"run=runs/{one}" for one in runs[:3])
    if evaluations := sorted(one.parent.name for one in workspace.glob("evals/*/items.jsonl")):
        moved = f"a={evaluations[-2]}&b={evaluations[-1]}" if evaluations[1:] else ""
        found["cases"] = f"/evaluation/cases?{moved}"
    if (workspace / "evals" / "support-a").exists():
        pair = "a=support-a&b=support-b"
        found["vote-ballot"] = f"/vote/ballots?{pair}"
        found["vote-results"] = f"/vote/results?{pair}"
    for file in sorted(workspace.glob("datasets/names/*.jsonl"))[:1]:
        found["version"] = f"/data/version/{file.stem}"
    if (workspace / "datasets" / "names" / f"{DATASET}.jsonl").is_file():
        found["checks"] = f"/data/checks/{DATASET}"
        asked = {"id": "identity-0", "colour": "loss", "tokens": MODEL}
        found["tokens"] = f"/data/record/{DATASET}?{urlencode(asked)}"
    for file in sorted(workspace.glob("sweeps/*/sweep.json"))[:1]:
        found["sweep"] = f"/diagnosis/result?kind=sweep&path=sweeps/{file.parent.name}"
    for file in sorted(workspace.glob("squeeze/*/squeeze.json"))[:1]:
        found["squeeze"] = f"/diagnosis/result?kind=squeeze&path=squeeze/{file.parent.name}"
    for file in sorted(workspace.glob("runs/*/diagnosis/pattern.json"))[:1]:
        found["findings"] = f"/diagnosis/show/runs/{file.parent.parent.name}"
    return {**found, "new-run": "/runs/new"}


def example(root: Path) -> None:
    """Make a workspace worth looking at."""
    for name, state, steps in (
        ("support-a", "finished", 400),
        ("support-b", "finished", 400),
        ("support-c", "interrupted", 600),
        ("pairs", "failed", 300),
    ):
        words = "loss is not finite at step 150." if state == "failed" else ""
        objective = "dpo" if name == "pairs" else "nll"
        make_run(root / "runs" / name, state=state, steps=steps, message=words, objective=objective)
    write_notes(root / "runs" / "support-a", ("baseline",), "Twice the identity records.")
    write_notes(root / "runs" / "support-b", ("基线", "v2"), "加入了常识问答。")
    finding = Finding(
        name="overfitted",
        task_type="identity/name",
        says="Evaluation loss of identity/name rises from step 260 on while training loss falls.",
        severity="warning",
        confidence="high",
        evidence=(Evidence(says="The lowest evaluation loss is at step 260.", steps=(260,)),),
        remedies=(Remedy(says="Train fewer epochs.", settings={"training.epochs": 2}),),
    )
    add_dataset(root)
    add_sweep(root / "sweeps" / "rate")
    moment = datetime.fromisoformat("2026-11-01T00:00:00Z")
    report = ProbeReport(probe="fit", made_at=moment, findings=(finding,))
    write_probe(root / "runs" / "support-a", report)
    add_models(root)
    add_votes(root)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--only", nargs="+", default=[""], help="Pictures whose names begin so.")
    asked = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made, browser() as started:
        workspace = asked.workspace or Path(made) / "support"
        if asked.workspace is None:
            workspace.mkdir()
            example(workspace)
        with running(workspace) as studio:
            for theme, locale in THEMES.items():
                visit = Visit(started, studio, locale=locale, color_scheme=theme, viewport=SIZE)
                name = quote("李" if locale.startswith("zh") else "Li")
                voter = {"name": "danlu_voter", "value": name, "url": studio.url}
                visit.context.add_cookies([voter])
                found = pictures(workspace)
                if asked.workspace is None:
                    talk = make_talk(workspace, chinese=locale.startswith("zh"))
                    studio.app.state.shared.talks.keep(talk)
                    found["chat-talk"] = f"/chat/talk/{talk.id}"
                for name, path in found.items():
                    if not name.startswith(tuple(asked.only)):
                        continue
                    page = visit.go(path)
                    if page.locator("#charts").count():
                        page.wait_for_selector("#charts[data-drawn]")
                    if page.locator("#tokens[hx-trigger]").count():
                        page.wait_for_selector(".legend")
                    file = IMAGES / f"studio-{name}-{theme}.png"
                    page.screenshot(path=file)
                    print(file.relative_to(ROOT))
                visit.close()


if __name__ == "__main__":
    main()
