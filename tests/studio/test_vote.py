"""The page of votes asks what ``danlu vote`` asks, over the same store; answers are text."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from danlu.evaluation.store.database import EvalStore
from danlu.evaluation.store.votes import Vote, votes
from danlu.evaluation.voting.ballots import pair_ballots, paired
from danlu.evaluation.voting.sitting import Sitting
from tests.evaluation.versions import write_evaluation
from tests.studio.client import entered

BAIT = "<img src=x onerror=alert(1)>"
TYPES = ["writing/line", "写作/句子"]
N = 6
PAIR = {"a": "old", "b": "new"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two evaluations of two task types; of each, the last pair of answers is equal."""
    for name, started in (("old", 1), ("new", 2)):
        answers = {
            one: [(f"{name} {one} {k} {BAIT}" if k < N - 1 else "same", 1.0) for k in range(N)]
            for one in TYPES
        }
        write_evaluation(tmp_path / "evals" / name, f"runs/{name}", answers, started=started)
    return tmp_path


def visitor(root: Path, name: str, **headers: str) -> httpx2.Client:
    """A browser of somebody who has said who votes."""
    client, _ = entered(root, **headers)
    if name:
        client.post("/vote/voter", content=f"voter={name}").raise_for_status()
    return client


def ballot(client: httpx2.Client, **query: str) -> str:
    return client.get("/vote/ballots", params={**PAIR, **query}).text


def hidden(text: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found, text
    return html.unescape(found[1])


def cast(client: httpx2.Client, text: str, verdict: str, **changes: str) -> Any:
    """Press a button on the ballot that is shown."""
    fields = {name: hidden(text, name) for name in ("a", "b", "subject")} | {"seconds": "2.5"}
    sent = {**fields, "verdict": verdict, **changes}
    return client.post("/vote/verdict", data=sent, headers={"hx-target": "ballot"})


def kept(root: Path) -> list[Vote]:
    with EvalStore(root / "evals" / "store.sqlite") as store:
        return votes(store)


def test_who_votes_is_asked_once_and_kept(root: Path) -> None:
    client = visitor(root, "")
    asked = ballot(client)
    assert "Who votes?" in asked
    assert "verdicts" not in asked
    client.post("/vote/voter", data={"voter": "  安  Li "}).raise_for_status()
    assert ">安 Li<" in ballot(client)
    assert client.post("/vote/voter", data={"voter": " "}).status_code == 400
    assert client.post("/vote/voter", data={"voter": "x" * 65}).status_code == 400


def test_verdicts_are_kept_at_once_in_the_terminals_order_and_undone(root: Path) -> None:
    client = visitor(root, "ann")
    text = ballot(client)
    assert "0 of 10" in text
    for verdict in ("left", "skip", "tie"):
        text = cast(client, text, verdict).text
        assert "<html" not in text
    assert "3 of 10" in text
    assert "Kept; a tie." in text
    from danlu.evaluation.directory import EvalDirectory

    sides = [EvalDirectory.open(root / "evals" / name) for name in ("old", "new")]
    ballots = pair_ballots(paired(*sides), [str(one.path) for one in sides])
    given = kept(root)
    assert [(one.subject, one.verdict, one.voter, one.seconds) for one in given] == [
        (ballots[0].subject, "left", "ann", 2.5),
        (ballots[1].subject, "skip", "ann", 2.5),
        (ballots[2].subject, "tie", "ann", 2.5),
    ]
    assert given[0].left == ballots[0].left.key
    assert given[0].sources == tuple(str(one.path) for one in sides)
    text = client.post("/vote/undo", data=PAIR, headers={"hx-target": "ballot"}).text
    assert "Taken back." in text
    assert html.escape(ballots[2].left.text, quote=False) in text
    assert len(kept(root)) == 2
    # The terminal goes on where the page stopped, and the page where the terminal did.
    with EvalStore(root / "evals" / "store.sqlite") as store:
        sitting = Sitting(store, "ann", ballots)
        assert sitting.current is ballots[2]
        sitting.decide("right")
    assert f'value="{"/".join(ballots[3].subject)}"' in ballot(client)


def test_answers_are_text_and_nothing_says_whose_they_are(root: Path) -> None:
    client = visitor(root, "ann")
    part = client.get("/vote/ballots", params=PAIR, headers={"hx-target": "ballot"}).text
    assert BAIT not in part
    assert html.escape(BAIT) in part
    assert "Reference" in part
    assert "runs/old" not in part
    assert "Reference" not in ballot(client, reference="no")
    text = ballot(client, reference="no")
    after = cast(client, text, "left", reference="no").text
    assert "Reference" not in after


def test_two_people_and_two_windows_do_not_collide(root: Path) -> None:
    ann, bo = visitor(root, "ann"), visitor(root, "bo")
    first = ballot(ann)
    assert hidden(first, "subject") == hidden(ballot(bo), "subject")
    cast(ann, first, "left")
    text = cast(bo, first, "right").text
    assert [(one.voter, one.verdict) for one in kept(root)] == [("ann", "left"), ("bo", "right")]
    # A second window of ann's shows what she has decided in the first one.
    again = cast(ann, first, "right").text
    assert "decided in another window" in again
    assert hidden(again, "subject") == hidden(text, "subject")
    assert [one.verdict for one in kept(root)] == ["left", "right"]


def test_what_is_skipped_comes_again_at_the_end_and_can_be_taken_back(root: Path) -> None:
    client = visitor(root, "ann")
    query = {"task_type": TYPES[0]}
    text = ballot(client, **query)
    first = hidden(text, "subject")
    text = cast(client, text, "skip", **query).text
    assert "1 of 5" in text
    text = client.post("/vote/undo", data={**PAIR, **query}).text
    assert hidden(text, "subject") == first
    assert kept(root) == []
    for verdict in ("skip", "tie", "skip", "tie", "tie"):
        text = cast(client, text, verdict, **query).text
    assert "All but 2 that were skipped are decided." in text
    text = ballot(client, **query)
    assert "3 of 5" in text
    assert hidden(text, "subject") == first
    assert hidden(cast(client, text, "skip", **query).text, "subject") != first


def test_when_all_is_decided_the_page_says_so_and_can_go_back(root: Path) -> None:
    client = visitor(root, "ann")
    text = ballot(client, task_type=TYPES[1])
    assert "0 of 5" in text
    for _ in range(5):
        text = cast(client, text, "both_bad", task_type=TYPES[1]).text
    assert "Everything here is decided." in text
    assert "1 pairs of equal answers" in text
    back = client.post("/vote/undo", data={**PAIR, "task_type": TYPES[1]})
    assert "4 of 5" in back.text
    assert {one.task_type for one in kept(root)} == {TYPES[1]}


def test_one_evaluation_is_voted_usable_or_not(root: Path) -> None:
    client = visitor(root, "ann")
    text = client.get("/vote/ballots?a=new").text
    assert "Is this answer usable?" in text
    assert (
        cast(
            client, text.replace('name="a"', 'name="b" value=""><input name="a"'), "left"
        ).status_code
        == 400
    )
    client.post(
        "/vote/verdict", data={"a": "new", "subject": hidden(text, "subject"), "verdict": "usable"}
    )
    assert [one.verdict for one in kept(root)] == ["usable"]
    results = client.get("/vote/results?a=new").text
    assert "<b>1.000</b>" in results


def test_results_are_those_of_the_terminal(root: Path) -> None:
    ann, bo = visitor(root, "ann"), visitor(root, "bo")
    assert "Nobody has voted" in ann.get("/vote/results", params=PAIR).text
    for client, also in ((ann, "new"), (bo, "new")):
        text = ballot(client)
        for k in range(6):
            left_is_new = text.partition('id="left-title"')[2].partition("</article>")[0]
            better = "left" if f"{also} " in left_is_new else "right"
            worse = {"left": "right", "right": "left"}[better]
            text = cast(client, text, worse if client is bo and k == 5 else better).text
    text = ann.get("/vote/results", params=PAIR).text
    from danlu.studio import evaluations
    from danlu.studio import votes as page
    from danlu.studio.workspace import Workspace

    workspace = Workspace(root)
    found = evaluations.read_list(workspace)
    with page.opened(workspace) as store:
        result = page.result(store, page.poll(found.find("old"), found.find("new")))
    assert result.pairs[""].wins == 5
    assert result.pairs[""].ties == 1
    assert result.agreements[""].cohen["ann", "bo"][1] == 6
    assert f"<b>{result.pairs[''].rate.value:.3f}</b>" in text  # type: ignore[union-attr]
    assert "ann, bo" in text
    assert TYPES[1] in text
    assert "danlu vote evals/old evals/new --results" in text


def test_the_list_shows_what_has_been_voted_on(root: Path) -> None:
    client = visitor(root, "ann")
    assert "Voted on so far" not in client.get("/vote").text
    assert not (root / "evals" / "store.sqlite").exists()
    cast(client, ballot(client), "tie")
    text = client.get("/vote").text
    assert "old · new" in text
    assert "ann 1" in text


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"a": "none", "b": "new"}, "no such evaluation"),
        ({"a": "../evals/old", "b": "new"}, "no such evaluation"),
        ({**PAIR, "task_type": "writing/lime"}, "writing/line"),
    ],
)
def test_what_is_unknown_is_said(root: Path, query: dict[str, str], says: str) -> None:
    answer = visitor(root, "ann").get("/vote/ballots", params=query)
    assert answer.status_code in (400, 404)
    assert says in answer.text


def test_bad_verdicts_are_refused(root: Path) -> None:
    client = visitor(root, "ann")
    text = ballot(client)
    assert cast(client, text, "usable").status_code == 400
    assert cast(client, text, "burn").status_code == 400
    assert cast(client, text, "left", seconds="nan").is_success
    assert [one.seconds for one in kept(root)] == [0.0]
    nobody = visitor(root, "")
    assert cast(nobody, text, "left").status_code == 400


def test_an_empty_workspace_says_what_to_type_in_chinese(tmp_path: Path) -> None:
    client = visitor(tmp_path, "", **{"accept-language": "zh"})
    assert "还没有评测过任何模型" in client.get("/vote").text
