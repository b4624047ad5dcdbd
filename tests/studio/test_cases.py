"""What a case shows beside the answers: the judge, pass@k, the nearest training records; areas."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.schema import ScoredAnswer
from danlu.evaluation.summary import summarise
from danlu.records import Message, Record, write_records
from danlu.records.source import Source
from danlu.studio.data_index import RecordIndex, build
from danlu.studio.nearest import nearest
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from tests.evaluation.versions import right_or_wrong, write_evaluation
from tests.studio.client import entered

BAIT = "<script>alert(1)</script>"
PROMPTS = {"qa/a": ["法国的首都在哪里？", "What is the capital of Peru?"], "qa/b": ["1+1?"] * 2}


def talk(id_: str, asked: str, said: str) -> Record:
    return Record(id_, "qa/a", (Message("user", asked), Message("assistant", said)))


RECORDS = [
    talk("peru", "Tell me: what is the capital of Peru now?", f"Lima {BAIT}"),
    talk("france", "请问法国的首都在哪里呢？", "巴黎"),
    talk("ode", "Write an ode to the capital.", "O city"),
    talk("none", "qqq", "zzz"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DANLU_DATASETS", raising=False)
        folder = tmp_path_factory.mktemp("workspace")
        write_records(RECORDS, folder / "in.jsonl")
        store = Store(folder / "datasets")
        version = import_files(store, [Source(str(folder / "in.jsonl"), format="danlu")])
    good, bad = ("right", 1.0), (f"wrong {BAIT}", 0.0)
    sides = {
        "v1": {"qa/a": [[good] * 4, [good] * 4], "qa/b": [[good] * 4, [bad] * 4]},
        "v2": {"qa/a": [[good, bad, bad, bad], [bad] * 4], "qa/b": [[good] * 4, [good] * 4]},
    }
    for started, (name, answers) in enumerate(sides.items(), 1):
        path = folder / "evals" / name
        write_evaluation(path, name, answers, prompts=PROMPTS, started=started, finished=False)
        with EvalDirectory.resume(path) as directory:
            of = directory.evaluation()
            if name == "v2":
                model = of.model.model_copy(update={"data_version": version.id})
                of = of.model_copy(update={"model": model})
                (path / "eval.json").write_text(of.model_dump_json())
            directory.finish(summarise(directory, list(directory.scores()), 1.0))
            judged = [
                ScoredAnswer(
                    item="qa/a-1", task_type="qa/a", sample=sample, scorer="judge/helpful",
                    value=2.0, why=f"It says nothing of Lima. {BAIT} {sample}",
                )
                for sample in range(4)
            ]  # fmt: skip
            directory.write_scores([*directory.scores(), *judged])
    # Asked again by fluctuate: B passes 2 of 10, A 9.
    for letter, name, right in (("a", "v1", 9), ("b", "v2", 2)):
        path = folder / "evals" / "fluctuate-x" / letter
        answers = {"qa/a": [right_or_wrong(right, 10)] * 2}
        suite = f"tasks again ({letter.upper()})"
        write_evaluation(path, name, answers, suite=suite, prompts=PROMPTS)
    return folder


def test_an_area_of_several_task_types_has_a_row_with_its_verdict(root: Path) -> None:
    client, shared = entered(root)
    text = client.get("/evaluation").text
    area = text.index('<tr data-row class="area"><th scope="row">qa</th>')
    assert area < text.index('<th scope="row">qa/a</th>')
    row = text[area : text.index("</tr>", area)]
    assert "<b>0.750</b>" in row  # (1 + 0.5) / 2
    assert "<b>0.562</b>" in row  # (0.125 + 1) / 2
    (link,) = re.findall(r'href="(/evaluation/cases[^"]*)"', row)
    assert "task_type=qa%2F" in link
    cases = client.get(html.unescape(link) + "&moved=all").text
    assert cases.count('class="card case"') >= 2
    shared.close()


def test_a_case_has_the_judges_words_and_how_often_each_side_passes(root: Path) -> None:
    client, shared = entered(root)
    query = {"a": "v1", "b": "v2", "item": "qa/a-1"}
    text = client.get("/evaluation/cases", params=query).text
    assert BAIT not in text
    assert text.count("It says nothing of Lima.") == 2  # of the sample that is shown, on each side
    assert "asked again: 9 of 10 pass" in text
    assert "asked again: 2 of 10 pass" in text
    assert "pass@1 0.20" in text
    assert "pass@5 0.78" in text  # 1 - C(8,5) / C(10,5)
    other = client.get("/evaluation/cases", params={**query, "item": "qa/b-1"}).text
    assert "4 of 4 answers pass" in other
    assert "It says nothing" not in other
    shared.close()


def test_the_nearest_training_records_are_those_of_the_models_data(root: Path) -> None:
    client, shared = entered(root)
    for item, expected in (("qa/a-0", "france"), ("qa/a-1", "peru")):
        text = client.get("/evaluation/nearest", params={"name": "v2", "item": item}).text
        ids = re.findall(r'<a class="mono" href="/data/record/[^"]*">([^<]*)</a>', text)
        assert ids[0] == expected
        assert BAIT not in text
    none = client.get("/evaluation/nearest", params={"name": "v2", "item": "qa/b-0"}).text
    assert "shares a stretch" in none
    unknown = client.get("/evaluation/nearest", params={"name": "v1", "item": "qa/a-0"}).text
    assert "not recorded" in unknown
    answer = client.get("/evaluation/nearest", params={"name": "v2", "item": "nothing"})
    assert answer.status_code == 404
    assert "/evaluation/nearest?name=v2&amp;item=qa%2Fa-1" in (
        client.get("/evaluation/cases?a=v1&b=v2&item=qa/a-1").text
    )
    shared.close()


def test_likeness_is_the_share_of_the_prompts_pairs(root: Path, tmp_path: Path) -> None:
    version = Store(root / "datasets").versions()[0]
    index = RecordIndex(build(tmp_path, version, "records"), version)
    found = nearest(index, "What is the capital of Peru?")
    assert found[0].record.id == "peru"
    assert found[0].share == 1.0
    (near,) = nearest(index, "Tell me: what is the capital of Chile?")
    assert near.record.id == "peru"
    assert near.share == pytest.approx(6 / 7)  # all pairs but "of chile"
    assert nearest(index, "") == []
    # A stretch that too many have decides only between those that are equal otherwise.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("danlu.studio.nearest.MOST_FOUND", 1)
        patch.setattr("danlu.studio.nearest.MOST_BYTES", 0)
        assert nearest(index, "What is the capital of Peru?")[0].record.id == "peru"
    assert nearest(index, "铁锈") == []
