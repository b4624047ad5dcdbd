"""The studio in a real browser: every page loads, a run is started and its curve grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from danlu.records import Message, Record, write_records
from danlu.records.source import Source
from danlu.runs import RunDirectory
from danlu.runs.findings import Evidence, Finding, ProbeReport, write_probe
from danlu.serving.speakers import Speaker
from danlu.studio.chat.talk import Talk, TalkSettings
from danlu.studio.check_index import build, folder_of
from danlu.studio.pages import PAGES
from danlu.studio.workspace import Workspace
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from tests.evaluation.versions import write_evaluation
from tests.runs.synthetic_run import make_run
from tests.studio.browser import Visit, browser
from tests.studio.running import Running, running
from tests.tiny_models import tiny_llama

BAIT = "<img src=x onerror=alert(1)><script>alert(2)</script>"
PATHS = [
    *(page.path for page in PAGES),
    "/runs/show/runs/steady",
    "/runs/show/runs/steady?with=runs/other",
    "/runs/new",
    "/jobs",
    "/vote/ballots?a=old&b=new",
    "/vote/results?a=old&b=new",
    "/evaluation/cases?a=old&b=new&moved=all",
    "/chat/talk/made",
    "/data/version/mine",
    "/data/record/mine?id=r1",
    "/data/checks/mine",
    "/diagnosis/show/runs/steady",
    "/diagnosis/result?kind=sweep&path=sweeps/rate",
]


class Parrot:
    """Answers with what was said."""

    def stream(self, conversation: Any, sampling: Any) -> Iterator[str]:
        yield conversation[-1].content


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    with browser() as one:
        yield one


def dataset(root: Path) -> None:
    """A version of two records, one of which a check finds fault with."""
    said = {"r1": "red", "r2": f"Gar\ufffd\ufffd {BAIT}"}
    records = [
        Record(id_, "furnace/0", (Message("user", f"{id_}?"), Message("assistant", text)))
        for id_, text in said.items()
    ]
    write_records(records, root / "records.jsonl")
    source = Source(str(root / "records.jsonl"), format="danlu")
    version = import_files(Store(root / "datasets"), [source], name="mine")
    rule = {"check": "mojibake", "rule": "replacement", "task_type": "furnace/0"}
    finding = {**rule, "record_id": "r2", "level": "fault", "value": 2, "limit": None}
    finding |= {"detail": BAIT, "partner": None}
    verdict = {"check": "mojibake", "task_type": "furnace/0", "state": "fault", "figures": {}}
    job = root / "job"
    job.mkdir()
    (job / "findings.jsonl").write_text(json.dumps(finding) + "\n")
    (job / "stdout.txt").write_text(json.dumps({"verdicts": [{**verdict, "advice": "Mend it."}]}))
    build(folder_of(Workspace(root).own / "data", version, "job"), job)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Iterator[Running]:
    """A studio over two runs, one finding, two evaluations, tiny models, and data to train on."""
    root = tmp_path_factory.mktemp("workspace")
    for name, steps in (("steady", 60), ("other", 90)):
        make_run(root / "runs" / name, steps=steps)
    found = Finding(
        name="loss-rises",
        says=f"The loss rises. {BAIT}",
        severity="serious",
        confidence="high",
        evidence=(Evidence(says="at step 40", steps=(40,)),),
    )
    moment = RunDirectory(root / "runs" / "steady").status().started_at
    write_probe(
        root / "runs" / "steady", ProbeReport(probe="curves", made_at=moment, findings=(found,))
    )
    seeds = {"model": 3, "other": 4, "runs/steady/model": 3}
    for name, seed in seeds.items():
        tiny_llama(seed=seed).save_pretrained(root / name)
        tiny_tokenizer.save_pretrained(root / name)
    for name, day in (("old", 1), ("new", 2)):
        said = [(f"{name} {one} {BAIT}", 1.0) for one in range(4)]
        write_evaluation(root / "evals" / name, name, {"writing/line": said}, started=day)
    dataset(root)
    sweep = {"settings": {"training.learning_rate": "1e-3"}, "run": "runs/steady", "loss": 1.0}
    sweep |= {
        "step": 2,
        "task_types": {"furnace/0": 1.0},
        "curve": [[0, 2.0], [2, 1.0]],
        "seconds": 3,
    }
    (root / "sweeps" / "rate").mkdir(parents=True)
    (root / "sweeps" / "rate" / "sweep.json").write_text(json.dumps({"trials": [sweep]}))
    rows = [
        {"prompt": f"What is {one}?", "completion": "red", "task_type": f"furnace/{one % 2}"}
        for one in range(8)
    ]
    (root / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with running(root) as one:
        talk = Talk(
            [Speaker("parrot", Parrot()), Speaker(BAIT, Parrot())], ["model", "other"], root
        )
        talk.id = "made"
        one.app.state.shared.talks.keep(talk)
        talk.say(BAIT, TalkSettings())
        talk.wait()
        talk.vote(1, False, voter="", corrected=BAIT)
        yield one


@pytest.fixture
def visit(started: Any, studio: Running) -> Iterator[Visit]:
    window = Visit(started, studio)
    yield window
    window.close()
    assert not window.faults


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_loads_in_both_languages_and_is_accessible(
    started: Any, studio: Running, theme: str
) -> None:
    """One language with each theme: light in English, dark in Chinese."""
    locale, tag = {"light": ("en-GB", "en"), "dark": ("zh-CN", "zh-Hans")}[theme]
    window = Visit(started, studio, locale=locale, color_scheme=theme)
    try:
        for path in PATHS:
            page = window.go(path)
            if "/runs/show/" in path:
                page.wait_for_selector("#charts[data-drawn]")
            assert page.locator("html").get_attribute("lang") == tag
            assert page.locator("main h1").count() == 1, path
            assert page.evaluate("document.body.scrollWidth <= innerWidth"), path
            assert window.accessibility() == [], path
        assert window.faults == []
    finally:
        window.close()


def test_keys_and_preferences(visit: Visit) -> None:
    page = visit.go("/jobs")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/runs")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator("[data-row].at").count() == 1
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/show/runs/*")
    page.wait_for_selector("#charts[data-drawn]")
    page.keyboard.press("?")
    assert "Log scale" in page.locator("#keys").inner_text()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="中文").click()
    page.wait_for_selector('html[lang="zh-Hans"]')
    page.get_by_role("button", name="深色").click()
    page.wait_for_selector('html[data-theme="dark"]')
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(23, 21, 19)"


def test_a_finding_is_text_and_zooms_the_curve(visit: Visit) -> None:
    page = visit.go("/runs/show/runs/steady")
    page.wait_for_selector("#charts[data-drawn]")
    assert BAIT in page.locator(".finding").inner_text()
    with page.expect_response(lambda answer: "first=30" in answer.url):
        page.locator('[data-step="40"]').click()
    with page.expect_response(lambda answer: "first=" not in answer.url and "curves" in answer.url):
        page.keyboard.press("0")


def test_notes_stay_and_are_found(visit: Visit, studio: Running) -> None:
    page = visit.go("/runs/show/runs/steady")
    page.get_by_label("Tags").fill("基线 keep")
    page.get_by_label("Note", exact=True).fill(BAIT)
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    page.locator("#kept").get_by_text("Kept.").wait_for()
    page = visit.go("/runs?tag=%E5%9F%BA%E7%BA%BF")
    assert page.locator("[data-row]").count() == 1
    assert BAIT in page.locator("[data-row]").inner_text()


def test_a_finding_leads_to_its_record_and_its_tokens_have_colours(visit: Visit) -> None:
    """The real process shows the tokens, and asks the model of a run for their losses."""
    page = visit.go("/data/checks/mine")
    page.get_by_role("link", name="replacement 1").click()
    page.wait_for_url("**/data/version/mine?finding=mojibake.replacement*")
    assert page.locator("#records [data-row]").count() == 1
    page.locator("#records [data-row] th a").click()
    page.get_by_role("heading", name="Findings").wait_for()
    assert "r2" in page.locator("h1").inner_text()
    page.get_by_label("Tokens of").select_option("runs/steady")
    page.locator(".token.w4").first.wait_for()
    page.get_by_label("Coloured by").select_option("loss")
    page.get_by_text("The hardest trained tokens").wait_for()
    assert "colour=loss" in page.url
    trained = page.locator(".tokens .token:not(.free):not(.l)").all_inner_texts()
    assert BAIT in "".join(trained)
    colours = page.locator(".tokens .token").evaluate_all(
        "all => new Set(all.map(one => getComputedStyle(one).backgroundColor)).size"
    )
    assert colours >= 3
    assert visit.accessibility() == []


def test_a_record_is_filtered_edited_and_undone(visit: Visit) -> None:
    page = visit.go("/data/version/mine")
    rows = page.locator("#records [data-row]")
    assert rows.count() == 2
    page.keyboard.press("/")
    page.keyboard.type("red")
    page.wait_for_url("**q=red*")
    rows.nth(1).wait_for(state="detached")
    rows.locator("th a").click()
    page.locator("article.assistant summary").click()
    page.get_by_label("Text of assistant, 2").fill(f"深红 {BAIT}")
    page.get_by_role("button", name="Keep the texts").click()
    page.locator("article.assistant .text", has_text="深红").wait_for()
    assert page.locator("article.assistant .text").inner_text() == f"深红 {BAIT}"
    page = visit.go("/data/version/mine?q=%E6%B7%B1%E7%BA%A2")
    assert rows.count() == 1
    page.keyboard.press("z")
    page.get_by_role("button", name="Undo (mine)").wait_for(state="detached")
    page = visit.go("/data/record/mine?id=r1")
    assert page.locator("article.assistant .text").inner_text() == "red"


def fill(page: Any, **values: str) -> None:
    """Fill fields of the form by the settings' paths, with ``__`` for the dot."""
    for path, text in values.items():
        page.get_by_label(path.replace("__", "."), exact=True).fill(text)


def test_a_run_is_started_from_the_form_its_curve_grows_and_it_stops(visit: Visit) -> None:
    """The dry run goes on in a window beside it: both load torch, which takes a while."""
    beside = visit.context.new_page()
    settings = {"data__train": "data.jsonl", "model__path": "model", "training__epochs": "1e5"}
    for page in (beside, visit.page):
        page.goto(f"{visit.url}/runs/new")
        fill(page, name="made-here", **settings)
    page = visit.page
    page.bring_to_front()
    problem = page.locator(".problems")
    fill(page, training__learning_rate="fast")
    problem.get_by_text("learning_rate").wait_for()
    fill(page, training__learning_rate="0.001")
    problem.wait_for(state="detached")
    beside.get_by_role("button", name="Dry run").click()
    page.get_by_role("button", name="Start to train").click()
    page.get_by_role("link", name="Open the run").click()
    page.wait_for_selector("#charts[data-drawn]")
    before = visit.drawn()
    while visit.drawn() <= before + 3:
        page.wait_for_timeout(50)
    page.locator('[hx-post="/runs/stop"]').click()
    page.wait_for_selector('[data-state="interrupted"]')
    page.get_by_role("button", name="Resume").wait_for()
    beside.locator("#plan .tiles").wait_for()
    assert "furnace/1" in beside.locator("#plan").inner_text()


def test_a_vote_is_cast_by_keyboard_and_survives_a_reload(visit: Visit) -> None:
    page = visit.go("/vote")
    page.keyboard.press("n")
    page.get_by_label("Who votes?").fill("安 Li")
    page.keyboard.press("Enter")
    page.get_by_text("0 of 4").wait_for()
    assert BAIT in page.locator("#ballot").inner_text()
    page.keyboard.press("1")
    page.get_by_text("Kept; left is better.").wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_text("Kept; right is better.").wait_for()
    third = page.locator("[name=subject]").input_value()
    page.reload()
    page.get_by_text("2 of 4").wait_for()
    assert page.locator("[name=subject]").input_value() == third
    page.keyboard.press("u")
    page.get_by_text("Taken back.").wait_for()
    page.get_by_text("1 of 4").wait_for()
    for key, done in (("t", 2), ("b", 3), ("s", 4)):
        page.keyboard.press(key)
        page.get_by_text(f"{done} of 4").wait_for()
    page.get_by_text("All but 1 that were skipped are decided.").wait_for()
    page.keyboard.press("r")
    page.wait_for_url("**/vote/results*")
    assert "安 Li" in page.locator("table").nth(1).inner_text()


def test_two_chats_stream_side_by_side_and_a_correction_lands_in_the_capture(
    visit: Visit, studio: Running
) -> None:
    """In Chinese and in the dark, with a reload while an answer comes."""
    visit.context.add_cookies(
        [
            {"name": f"danlu_{name}", "value": value, "url": visit.url}
            for name, value in (("language", "zh"), ("theme", "dark"))
        ]
    )
    page = visit.go("/chat")
    page.locator("#other").fill("model")
    page.locator("#beside").fill("other")
    page.keyboard.press("Enter")
    page.wait_for_url("**/chat/talk/*")
    page.locator("#max_new_tokens").fill("200")
    page.locator("#text").fill("你好")
    page.keyboard.press("Enter")
    for seat in (0, 1):
        page.locator(f'[data-seat="{seat}"]:not(:empty)').wait_for()
    page.reload()
    page.locator("#talk:not([data-going])").wait_for()
    page.locator("#seats .state.finished").nth(1).wait_for()
    assert page.locator(".answers.two .answer.whole").count() == 2
    first, second = (page.locator(".answer .text").nth(k).inner_text() for k in (0, 1))
    assert first != second
    assert page.locator("#text").input_value() == ""
    page.locator("#text").blur()
    page.keyboard.press("y")
    page.locator('.thumb[aria-pressed="true"]').wait_for()
    assert visit.accessibility() == []
    page.keyboard.press("Shift+E")
    page.locator("#corrected-1:focus").wait_for()
    page.keyboard.press("Control+A")
    page.keyboard.type("炉火纯青")
    page.get_by_role("button", name="保存更正").click()
    page.locator(".corrected").get_by_text("炉火纯青").wait_for()
    assert visit.accessibility() == []
    (file,) = (studio.app.state.workspace.root / "captured").glob("*.jsonl")
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    own = {row["id"] for row in rows if row.get("model") in ("model", "other")}
    votes = [row["vote"] for row in rows if row["kind"] == "feedback" and row["turn"] in own]
    assert [(one["up"], one.get("corrected")) for one in votes] == [
        (True, None),
        (False, "炉火纯青"),
    ]
    page.keyboard.press("Shift+W")
    page.locator("#task-type-1:focus").wait_for()
    page.keyboard.press("Control+A")
    page.keyboard.type("chat/zh")
    page.keyboard.press("Enter")
    page.locator(".hint.kept").wait_for()
    saved = (studio.app.state.workspace.root / "chat.jsonl").read_text("utf-8")
    assert [one["content"] for one in json.loads(saved)["messages"]] == ["你好", "炉火纯青"]
    page.locator("#text").fill("再说")
    page.keyboard.press("Enter")
    page.locator("#stop:not([hidden])").wait_for()
    page.keyboard.press("Escape")
    page.locator("#talk:not([data-going])").wait_for()
    assert page.locator(".exchange").count() == 2
