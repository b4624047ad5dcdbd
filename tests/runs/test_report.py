from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from danlu.errors import RunError
from danlu.runs import MetricsRow, RunDirectory, Sample, ScoreRow, write_report
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
    for curves in finished.data["loss"]["types"]:
        assert len(curves["train"]["x"]) == 60
        assert len(curves["eval"]["x"]) == 13
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


def ids(page: Page) -> set[str | None]:
    return {attributes.get("id") for _, attributes in page.tags}


@pytest.fixture(scope="module")
def preferred(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "preferred"
    make_run(path, objective="dpo")
    return Page(write_report(path)[0])


def test_every_metric_has_its_words_and_its_charts(preferred):
    titles = ["Accuracy", "Margin", "Chosen reward", "Rejected reward", "Chosen nll"]
    assert [metric["title"] for metric in preferred.data["metrics"]] == titles
    for index, title in enumerate(titles):
        assert title in preferred.text
        assert {f"metric-{index}-chart", f"metric-{index}-types-chart"} <= ids(preferred)
    assert "It may grow while the chosen nll rises too" in preferred.text
    accuracy = preferred.data["metrics"][0]
    assert (accuracy["mark"], accuracy["limits"]) == ([0.5, "chance"], [0, 1])
    assert [len(one["eval"]["x"]) for one in accuracy["types"]] == [13] * len(TASK_TYPES)


def test_metrics_on_the_page_are_those_of_the_rows(preferred):
    """Sixty rows: 5 % are three."""
    last = [row(step, objective="dpo") for step in (58, 59, 60)]
    weights = [sum(channel.records for channel in one.channels.values()) for one in last]
    margin = sum(one.metrics["margin"] * n for one, n in zip(last, weights, strict=True))
    assert preferred.data["metrics"][1]["last"] == pytest.approx(margin / sum(weights))
    evaluated = row(60, "eval", objective="dpo").metrics["margin"]
    assert preferred.data["metrics"][1]["eval"]["y"][-1] == pytest.approx(evaluated, rel=1e-4)
    assert f"Margin, eval 0.000 → {evaluated:.3f} train" in " ".join(preferred.text.split())


def test_the_table_of_task_types_has_accuracy_and_margin_from_start_to_end(preferred):
    table = preferred.text[preferred.text.index("Records seen") :]
    table = table[: table.index("Records and tokens count")]
    first, last = (row(step, "eval", objective="dpo").channels["通用/常识问答"] for step in (0, 60))
    for name in ("accuracy", "margin"):
        assert f"{first.metrics[name]:.3f} → {last.metrics[name]:.3f}" in table
    assert "Chosen nll" not in table


def test_the_axis_of_the_loss_says_what_it_is(finished, preferred):
    assert "nats per token" in finished.text[: finished.text.index("Optimization")]
    loss = preferred.text[: preferred.text.index("Task types")]
    assert "loss (dpo)" in loss
    assert "nats per token" not in loss


def test_a_plain_run_has_no_metrics_and_no_scores(finished):
    assert finished.data["metrics"] == []
    assert finished.data["scores"] is None
    assert "Metrics" not in finished.text
    assert "Scores of held-out answers" not in finished.text


def test_learning_documents_shows_perplexity_per_task_type(tmp_path):
    page = Page(write_report(make_run(tmp_path / "a", documents=True).path)[0])
    (perplexity,) = page.data["metrics"]
    assert (perplexity["title"], perplexity["log"]) == ("Perplexity", True)
    for split in ("train", "eval"):
        for losses, own in zip(page.data["loss"]["types"], perplexity["types"], strict=True):
            expected = [math.exp(loss) for loss in losses[split]["y"]]
            assert own[split]["y"] == pytest.approx(expected, rel=1e-3)
    assert "of one tokenizer only" in page.text


def test_scores_are_drawn_in_all_and_per_task_type(tmp_path):
    run = make_run(tmp_path / "a", objective="reward")
    page = Page(write_report(run.path)[0])
    scores, rows = page.data["scores"], list(run.scores())
    assert [panel["name"] for panel in scores["panels"]] == ["", *sorted(TASK_TYPES)]
    assert {f"scores-{index}-chart" for index in range(6)} <= ids(page)
    for panel in scores["panels"]:
        own = [one for one in rows if panel["name"] in ("", one.task_type)]
        assert sum(panel["best"]) == sum(one.rank == 1 for one in own)
        assert sum(panel["others"]) == sum(one.rank > 1 for one in own)
        assert len(panel["best"]) == len(panel["others"]) == len(scores["borders"]) - 1
    assert "A best answer is on top in" in page.text
    named = {a.get("lang") for tag, a in page.tags if tag == "figcaption"}
    assert "zh-Hans" in named


def test_names_of_metrics_and_scored_records_are_never_markup(tmp_path):
    with RunDirectory.create(tmp_path / "a") as run:
        run.append_metrics(MetricsRow(step=1, epoch=0.1, loss=1.0, metrics={EVIL: 0.5}))
        run.write_scores(
            ScoreRow(record=EVIL, task_type=EVIL + kind, response=rank, rank=rank, score=rank)
            for kind in "ab"
            for rank in (1, 2)
        )
        page = Page(write_report(run.path)[0])
    assert len(page.scripts) == 2
    assert page.text.count("alert(1)") >= 3
    assert page.data["metrics"][0]["title"].lower() == EVIL
    assert page.data["scores"]["panels"][1]["name"] == EVIL + "a"


def test_a_metric_that_no_task_type_has_is_drawn_in_all_alone(tmp_path):
    """The weight of KL, say, is one for the whole run."""
    own = {"loss": 0.5, "tokens": 3, "records": 1, "metrics": {"kl": 2.0}}
    with RunDirectory.create(tmp_path / "a") as run:
        numbers = {"kl": 2.0, "kl_weight": 0.02}
        channels = {"a/x": own, "b/y": own}
        run.append_metrics(
            MetricsRow(step=1, epoch=0.1, loss=1.0, metrics=numbers, channels=channels)
        )
        page = Page(write_report(run.path)[0])
    assert [metric["title"] for metric in page.data["metrics"]] == [
        "KL to the reference",
        "KL weight",
    ]
    assert {"metric-0-chart", "metric-0-types-chart", "metric-1-chart"} <= ids(page)
    assert "metric-1-types-chart" not in ids(page)


def test_a_run_with_a_metric_that_only_some_rows_have(tmp_path):
    with RunDirectory.create(tmp_path / "a") as run:
        for step, metrics in enumerate([{}, {"margin": 0.5}, {}], start=1):
            run.append_metrics(MetricsRow(step=step, epoch=0.1, loss=1.0, metrics=metrics))
        page = Page(write_report(run.path)[0])
    assert page.data["metrics"][0]["train"] == {"x": [2], "y": [0.5], "low": [], "high": []}


def test_no_run_no_report(tmp_path):
    with pytest.raises(RunError, match="not a run"):
        write_report(tmp_path)
