"""A model proposes task types: only those of the taxonomy, and what it wavers about is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.cli.main import run
from danlu.errors import DanluError, StoreError
from danlu.records import Record
from danlu.workshop.operations.label import Label
from danlu.workshop.produce.task_types import AskedTypes, named_type
from danlu.workshop.store.store import Store
from danlu.workshop.taxonomy import Taxonomy
from tests.workshop.making import chat, version_of
from tests.workshop.produce.asking import decided, sample_of, speaking
from tests.workshop.produce.endpoint_server import Does, said, serving

TREE = {
    "code": {"c": "Programs in C.", "cpp": None},
    "math": {"sums": {"keywords": ["sum"]}},
    "writing": {"poem": "Poems of any kind."},
    "客服": {"退款": "退货和退款", "退款申请": None},
}
TAXONOMY = Taxonomy.from_tree(TREE, "test")


def ask(id_: str, prompt: str, answer: str = "x") -> Record:
    return chat(id_, prompt, answer, "unlabelled/x")


def label(engine: Any, *records: Record, samples: int = 5, **settings: Any) -> dict[str, Any]:
    asked = AskedTypes(engine, TAXONOMY, samples)
    operation = Label(TAXONOMY, ("rules", "model"), model=asked, **settings)
    found = {one.entry.id: one.entry for one in decided(operation, *records)}
    return {**found, "trial": operation.model_trial, "rejects": asked.rejects.rows}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("code/c", "code/c"),
        ("The kind is `code/cpp`.", "code/cpp"),
        ("这是客服/退款", "客服/退款"),
        ("退款", "客服/退款"),
        ("应为客服/退款申请吧", "客服/退款申请"),
        ("都不是。", "none"),
        ("writing/poems", None),
        ("code/c, or else math/sums", None),
        ("", None),
    ],
)
def test_only_one_name_of_the_taxonomy_counts(text: str, expected: str | None) -> None:
    assert named_type(text, TAXONOMY.skills) == expected


def test_what_agrees_is_taken_and_what_wavers_is_left(tmp_path: Path) -> None:
    says = {
        "Rhyme me something": ["writing/poem"] * 4 + ["code/c"],
        "我要退货": ["客服/退款"] * 3 + ["none", "都不是"],
        "a bit of both": ["code/c", "code/cpp", "code/c", "code/cpp", "writing/poem"],
        "the weather": ["none"] * 5,
        "gibberish": ["I cannot tell, code/c or code/cpp", "song", "", "poetry/ode", "code/c"],
    }

    def model(text: str, body: dict[str, Any]) -> str:
        [number] = [number for number, prompt in enumerate(says) if prompt in text]
        return list(says.values())[number][sample_of(body, str(number))]

    records = [ask(str(number), prompt) for number, prompt in enumerate(says)]
    known = ask("known", "What is the sum of two and two?")
    with speaking(model, tmp_path) as (engine, server):
        found = label(engine, *records, known)
        assert len(server.bodies) == 25
    rows = {
        id_: (e.task_type, e.rule, e.value, e.detail) for id_, e in found.items() if id_ in "01234"
    }
    assert rows == {
        "0": ("writing/poem", "label by model", 0.8, ""),
        "1": ("客服/退款", "label by model", 0.6, ""),
        "2": ("unlabelled/x", "label doubtful", 0.4, "perhaps code/cpp"),
        "3": ("unlabelled/x", "label doubtful", 0.0, "nothing is like it"),
        "4": ("unlabelled/x", "label doubtful", 0.2, "perhaps code/c"),
    }
    assert found["known"].rule == "label by rule"
    assert [row.partner for row in found["rejects"]] == ["4"] * 4


def test_every_sample_sees_all_types_in_its_own_order_and_no_answer_as_a_prompt(
    tmp_path: Path,
) -> None:
    with speaking(lambda text, body: "code/c", tmp_path) as (engine, server):
        label(
            engine, ask("1", "写一首诗", "床前明月光" * 1000), ask("2", "Sort it", "def f(): ...")
        )
    systems = [body["messages"][0]["content"] for body in server.bodies]
    for text in systems:
        assert all(f"\n- {name}" in text for name in [*TAXONOMY.skills, "none"])
    assert len(set(systems)) > 5
    chinese = [body for body in server.bodies if "[answer]\n床前" in said(body)]
    assert len(chinese) == 5
    assert all("你按种类" in body["messages"][0]["content"] for body in chinese)
    assert max(len(said(body)) for body in chinese) < 2200


def test_tries_on_labelled_records_tell_how_it_does(tmp_path: Path) -> None:
    poems = [chat(f"p{n}", f"Poem {n}", "x", "writing/poem") for n in range(9)]
    other = chat("other", "Old", "x", "gone/type")

    def model(text: str, body: dict[str, Any]) -> str:
        return "code/c" if "Poem 3" in text else "writing/poem"

    with speaking(model, tmp_path) as (engine, server):
        found = label(engine, *poems, other, ask("1", "Poem!"), samples=1, model_tries=9)
        trial = found["trial"]
        assert (trial.records, trial.accepted, trial.right) == (9, 9, 8)
        assert len(server.bodies) == 10
        assert (
            label(engine, *poems, ask("1", "Poem!"), samples=1, model_tries=4)["trial"].records == 4
        )


def test_settings_that_cannot_be() -> None:
    with pytest.raises(DanluError, match="at least 1"):
        AskedTypes(None, TAXONOMY, 0)  # type: ignore[arg-type]
    with pytest.raises(DanluError, match="give a taxonomy"):
        AskedTypes(None, Taxonomy())  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="'model'"):
        Label(TAXONOMY, ("rules", "model"))


def test_from_the_command_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    (tmp_path / "types.yaml").write_text(json.dumps(TREE), "utf-8")
    version_of(Store(), tmp_path, ask("1", "Rhyme!"), ask("2", "什么"), name="mine")
    words = ["data", "label", "mine", "--taxonomy", "types.yaml", "-n", "mine"]

    def script(body: dict[str, Any], time_: int) -> Does:
        return Does("writing/poem" if "Rhyme" in said(body) else "吃葡萄")

    with serving(script) as server:
        asked = ["--url", server.url, "-m", "strong", "--samples", "3", "--rejects", "r.jsonl"]
        assert run([*words, *asked]) == 0
        err = capsys.readouterr().err
        assert "1 edited: label by model" in err
        assert "2: nothing is like it" in err
        assert "spent: 90 tokens" in err
        assert len(Path("r.jsonl").read_text().splitlines()) == 3
        assert run([*words, *asked, "--by", "rules"]) == 2
        assert "--by leaves it out" in capsys.readouterr().err
    types = {record.id: record.task_type for record in Store().find("mine").records()}
    assert types == {"1": "writing/poem", "2": "unlabelled/x"}
    assert run([*words, "--by", "model"]) == 2
    assert "needs a model to ask" in capsys.readouterr().err
    assert run([*words, "--url", "http://localhost:1/v1"]) == 2
    assert "--url needs" in capsys.readouterr().err
