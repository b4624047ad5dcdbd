from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from danlu.errors import RunError
from danlu.runs import MetricsRow, RunDirectory, Sample, write_report
from tests.runs.synthetic_run import SAMPLES, TASK_TYPES, make_run, row

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """A page taken apart: its tags, its attributes, and the text of its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.lasttag == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    @property
    def data(self):
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "quickstart"
    make_run(path)
    page, picture = write_report(path)
    assert (page.name, picture.name) == ("report.html", "loss.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    return Page(page)


def test_the_page_says_what_the_run_was(finished):
    for text in ("quickstart", "finished", "builtin:smollm2-135m-instruct", "lora", "2 min 06 s"):
        assert text in finished.text
    assert "danlu chat" in finished.text
    assert "19 of 20" in finished.text


def test_every_task_type_has_its_row_and_its_curves(finished):
    assert [entry["name"] for entry in finished.data["task_types"]] == sorted(TASK_TYPES)
    for entry in finished.data["task_types"]:
        assert entry["name"] in finished.text
        assert len(entry["train"]["x"]) == 60
        assert len(entry["eval"]["x"]) == 13
    assert [done for _, done in finished.data["epochs"]] == [1, 2, 3]


def test_figures_on_the_page_are_those_of_the_files(finished):
    rows = [row(step, steps=60) for step in (1, 2, 3)]
    tokens = sum(found.supervised_tokens for found in rows)
    first = sum(found.loss * found.supervised_tokens for found in rows) / tokens
    assert f"{first:.3f}" in finished.text


def test_nothing_is_asked_of_any_server(finished):
    for _, attributes in finished.tags:
        for name in ("src", "href", "action", "poster", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:")
    text = "".join(finished.scripts)
    addresses = set(re.findall(r"https?://[^\s\"'`]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|import\(|innerHTML|eval\(", text)


def test_the_policy_allows_this_script_and_no_other(finished):
    policy = next(a["content"] for t, a in finished.tags if a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(finished.scripts[1].encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert len(finished.scripts) == 2
    assert not [name for _, a in finished.tags for name in a if name.startswith("on")]


def test_text_of_models_and_data_is_never_markup(tmp_path):
    evil = Sample(prompt=EVIL, task_type=EVIL, before=EVIL, after=EVIL + "!", reference=EVIL)
    run = make_run(tmp_path / "a", task_types=(EVIL, "</script><b>"), samples=(evil,))
    page = Page(write_report(run.path)[0])
    assert len(page.scripts) == 2
    assert not [tag for tag, _ in page.tags if tag == "b"]
    assert page.text.count("alert(1)") >= 5
    assert {entry["name"] for entry in page.data["task_types"]} == {EVIL, "</script><b>"}


def test_a_failure_is_told_and_escaped(tmp_path):
    run = make_run(tmp_path / "a", state="failed", message=f"TrainingError: {EVIL}")
    page = Page(write_report(run.path)[0])
    assert "This run failed at step 30 of 60." in page.text
    assert f"TrainingError: {EVIL}" in page.text
    assert "--resume" in page.text
    assert "not answered yet" in page.text
    assert "No answers after training yet" in page.text


def test_an_interrupted_run_names_the_remedy(tmp_path):
    page = Page(write_report(make_run(tmp_path / "a", state="interrupted").path)[0])
    assert "interrupted at step 30 of 60; it can be resumed" in page.text
    assert "--resume" in page.text


def test_a_running_run_is_not_finished(tmp_path):
    with make_run(tmp_path / "a", state="running") as run:
        page = Page(write_report(run.path)[0])
    assert "not finished. When this page was written: step 30 of 60" in page.text
    assert "--resume" not in page.text


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    with make_run(tmp_path / "a", state="new") as run:
        page = Page(write_report(run.path)[0])
    assert "No metrics yet" in page.text
    assert "no step was logged yet" in page.text
    assert (tmp_path / "a" / "loss.png").stat().st_size > 1000


def test_one_row_is_enough(tmp_path):
    with RunDirectory.create(tmp_path / "a") as run:
        run.append_metrics(MetricsRow(step=1, epoch=0.01, loss=0.0))
        page = Page(write_report(run.path)[0])
    assert page.data["loss"]["train"]["y"] == [0]


def test_what_differs_between_alike_answers_is_marked(finished):
    marks = sum(tag == "mark" for tag, _ in finished.tags)
    assert marks > 0
    assert "3 of 4 answers changed" in finished.text


def test_chinese_is_declared_so_that_it_gets_chinese_shapes(finished):
    assert any(attributes.get("lang") == "zh-Hans" for _, attributes in finished.tags)


def test_settings_that_differ_come_first(finished):
    settings = finished.text[finished.text.index("Settings") :]
    assert "5 settings differ from their defaults" in settings
    assert settings.index("training.learning_rate") < settings.index("at their default")
    assert settings.index("at their default") < settings.index("training.warmup_ratio")
    assert "data/identity.jsonl\ndata/常识.jsonl" in settings


def test_what_was_left_out_is_counted_by_reason(finished):
    text = finished.text[finished.text.index("Left out or cut") :]
    for found in ("overlong", "12 branches", "nothing to learn", "1 record", "not JSON", "1 line"):
        assert found in text
    assert "trained, cut to length" in text


def test_many_samples_are_cut_and_said(tmp_path):
    run = make_run(tmp_path / "a", samples=SAMPLES * 100)
    page = Page(write_report(run.path)[0])
    assert "the other 200 samples are in samples.jsonl" in page.text
    assert sum(tag == "article" for tag, _ in page.tags) == 200


def test_a_long_run_makes_a_small_page(tmp_path):
    """20,000 rows of 12 task types are 19 MB of metrics."""
    lines = [row(step, steps=100, task_types=tuple(f"a/{k}" for k in range(12))).to_json()
             for step in range(1, 101)]  # fmt: skip
    run = make_run(tmp_path / "a", state="interrupted", steps=10)
    text = "".join(
        line.replace('{"step":', f'{{"step":{repeat}', 1) + "\n"
        for repeat in range(1, 201)
        for line in lines
    )
    run.metrics_path.write_text(text)
    page, _ = write_report(run.path)
    assert page.stat().st_size < 1_000_000
    assert len(Page(page).data["loss"]["train"]["x"]) == 800


def test_no_run_no_report(tmp_path):
    with pytest.raises(RunError, match="not a run"):
        write_report(tmp_path)
