"""The addresses of data: versions, filters, a record, the ledger, edits and their undo."""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from danlu.cli.main import run
from danlu.errors import StoreError
from danlu.records import Message, Record, write_records
from danlu.records.record import Response
from danlu.records.source import Source
from danlu.studio.data_index import RecordIndex, build
from danlu.studio.data_view import text_pieces, version_rows
from danlu.studio.datasets import Datasets
from danlu.studio.workspace import Workspace
from danlu.workshop.operations.choice import Choice
from danlu.workshop.operations.edits import Drop, Retype, Revise, Tag
from danlu.workshop.operations.importing import import_files
from danlu.workshop.operations.merge import merge
from danlu.workshop.store.names import NameMovedError
from danlu.workshop.store.store import Store
from danlu.workshop.store.version import Version
from tests.studio.running import Running, running

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def talk(id_: str, task_type: str, asked: str, said: str, **more: object) -> Record:
    turns = (Message("user", asked), Message("assistant", said))
    return Record(id_, task_type, turns, **more)  # type: ignore[arg-type]


RECORDS = [
    talk("a", "math/sums", "一加一等于几？", "二", tags=("seed",)),
    talk("b/?&", "math/sums", EVIL, "无害", meta={"note": EVIL}),
    talk("c", "chat/small", "用繁體字說「電腦」", "電腦"),
    Record("p", "chat/small", (Message("user", "Hi\r\nyou"),), responses=(Response("Yes", 1),)),
    *(talk(f"n{at:03}", "code/python", f"print {at}", "x" * at or "-") for at in range(120)),
]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DANLU_DATASETS", raising=False)
        with running(tmp_path_factory.mktemp("workspace")) as one:
            yield one


@pytest.fixture
def root(studio: Running) -> Iterator[Path]:
    """A workspace with one version; what a test adds is gone after it."""
    folder: Path = studio.app.state.workspace.root
    write_records(RECORDS, folder / "in.jsonl")
    store = Store(folder / "datasets")
    import_files(store, [Source(str(folder / "in.jsonl"), format="danlu")], name="客服")
    yield folder
    shutil.rmtree(folder / "datasets")
    shutil.rmtree(folder / "cache", ignore_errors=True)


@pytest.fixture
def client(studio: Running, root: Path) -> Iterator[httpx2.Client]:
    with studio.entered() as one:
        yield one


def shown(text: str) -> list[str]:
    """The ids in a page's table of records."""
    found = re.findall(r'<a class="mono" href="/data/(?:record|compare)[^"]*">([^<]*)</a>', text)
    return [html.unescape(one) for one in found]


def test_versions_are_listed_with_names_parents_and_counts(
    client: httpx2.Client, root: Path
) -> None:
    store = Store(root / "datasets")
    first = store.find("客服")
    second = store.apply(Drop(Choice(ids=("a",))), first, name="less")
    text = client.get("/data").text
    assert "客服" in text
    assert "less" in text
    assert f'href="/data/version/{first.id}"' in text  # the second's parent
    assert text.index("less") < text.index("客服")
    assert len(re.findall("<circle", text)) == 2
    found = client.get("/data?q=drop", headers={"hx-target": "versions"}).text
    assert second.id[:9] in found
    assert "客服" not in found


def test_a_version_shows_its_tree_and_first_records(client: httpx2.Client) -> None:
    text = client.get("/data/version/客服").text
    assert "1 to 50 of 124" in text
    assert shown(text)[:3] == ["a", "b/?&", "c"]
    assert "96.8 %" in text  # 120 of 124 records are code
    assert "7 · 8 · 9" in text  # their prompts: from "print 0" to "print 119"


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("q=电脑", ["c"]),
        ("q=ＡＬＥＲＴ(2)", ["b/?&"]),
        ("q=YOU", ["p"]),
        ("tag=seed", ["a"]),
        ("task_type=chat/*", ["c", "p"]),
        ("task_type=math/sums&tag=seed", ["a"]),
        ("least=126", ["n117", "n118", "n119"]),
        ("task_type=code/python&sort=long&most=100", None),
        ("q=no such text", []),
        ("tag=unknown", []),
        ("task_type=code/*&first=118", ["n118", "n119"]),
    ],
)
def test_filters_are_in_the_address(
    client: httpx2.Client, query: str, ids: list[str] | None
) -> None:
    text = client.get(f"/data/version/客服?{query}", headers={"hx-target": "records"}).text
    assert "<html" not in text
    if ids is None:
        sizes = [len(f"print {at}") + max(at, 1) for at in range(120)]
        ids = sorted(
            (f"n{at:03}" for at in range(120) if sizes[at] <= 100),
            key=lambda one: -sizes[int(one[1:])],
        )[:50]
    assert shown(text) == ids


def test_html_in_a_record_is_text(client: httpx2.Client) -> None:
    pages = [
        client.get("/data/version/客服"),
        client.get("/data/record/客服", params={"id": "b/?&"}),
    ]
    for answer in pages:
        assert answer.status_code == 200
        assert "&lt;script&gt;alert(1)" in answer.text
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text.split("</header>")[1]
    assert "一加一" in client.get("/data/record/客服?id=a").text


def post(client: httpx2.Client, path: str, **fields: str) -> httpx2.Response:
    return client.post(f"/data/{path}", data=fields)


def test_an_edit_is_a_version_with_a_ledger_and_can_be_undone(
    client: httpx2.Client, root: Path
) -> None:
    store = Store(root / "datasets")
    first = store.find("客服")
    fields = {"version": first.id, "id": "a", "name": "客服"}
    answer = post(client, "edit", action="tag", add="good, 好", untag="seed", **fields)
    assert answer.headers["hx-redirect"] == "/data/record/%E5%AE%A2%E6%9C%8D?id=a"
    second = store.find("客服")
    assert second.id == store.apply(Tag(Choice(ids=("a",)), ("good", "好"), ("seed",)), first).id
    assert next(iter(second.records())).tags == ("good", "好")
    assert [entry.id for entry in second.ledger() if entry.fate == "edited"] == ["a"]
    text = client.get(answer.headers["hx-redirect"]).text
    assert "edited" in text
    assert "good, 好" in text
    # What was seen before the edit must not be edited over it.
    stale = post(client, "edit", action="retype", task_type="math/new", **fields)
    assert stale.headers["hx-retarget"] == "#moved"
    assert "changed this very record" in stale.text
    kept = store.apply(Retype(Choice(ids=("a",)), "math/new"), first)
    assert not kept.is_new  # what the second has made is there, and told
    assert f"/data/record/{kept.id}?id=a" in stale.text
    assert store.find("客服").id == second.id
    assert post(client, "undo", name="客服", version=first.id).status_code == 400
    undone = post(client, "undo", name="客服", version=second.id)
    assert undone.headers["hx-redirect"].startswith("/data/version/")
    assert store.find("客服").id == first.id
    assert "nothing to undo" in post(client, "undo", name="客服", version=first.id).text


def test_of_two_who_edit_at_once_one_is_told_and_both_edits_can_be_had(
    client: httpx2.Client, root: Path
) -> None:
    """Both have looked at the first version; they edit other records, and then the same."""
    store = Store(root / "datasets")
    first = store.find("客服")
    seen = {"version": first.id, "name": "客服"}
    assert post(client, "edit", action="drop", id="c", **seen).headers["hx-redirect"]
    told = post(client, "edit", action="tag", add="mine", id="a", **seen)
    assert "hx-redirect" not in told.headers
    (again,) = re.findall(r'name="version" value="([^"]*)"', told.text)
    assert again == store.find("客服").id
    fields = dict(re.findall(r'name="([^"]*)" value="([^"]*)"', told.text))
    assert client.post("/data/edit", data=fields).headers["hx-redirect"]
    both = {one.id: one.tags for one in store.find("客服").records()}
    assert "c" not in both
    assert "mine" in both["a"]
    gone = post(client, "edit", action="tag", add="mine", id="c", **seen)
    assert "dropped this record" in gone.text
    free = post(client, "edit", action="tag", add="x", id="a", version=first.id, name="new")
    assert free.headers["hx-redirect"]
    taken = post(client, "edit", action="tag", add="y", id="a", version=first.id, name="new")
    assert taken.headers["hx-retarget"] == "#moved"


def test_names_move_from_what_was_seen_only(root: Path) -> None:
    """Eight threads have seen the same version; one moves the name, and seven are told."""
    store = Store(root / "datasets")
    first = store.find("客服")
    made = [store.apply(Tag(Choice(ids=("a",)), (f"t{n}",)), first) for n in range(8)]

    def move(version: Version) -> str:
        try:
            store.name(version, "客服", seen=first.id)
        except NameMovedError as error:
            return error.now
        return "moved"

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(move, made))
    assert outcomes.count("moved") == 1
    assert set(outcomes) == {"moved", store.find("客服").id}
    with pytest.raises(NameMovedError, match=r"was free.*kept as v"):
        store.apply(Tag(Choice(ids=("c",)), ("t",)), first, name="客服", seen="")


def test_an_edit_of_a_large_version_is_a_job_that_does_the_same(
    client: httpx2.Client, root: Path, studio: Running, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The job's own arguments are handed to the command line here."""
    monkeypatch.setattr("danlu.studio.datasets.INLINE_BYTES", 10)
    monkeypatch.chdir(root)
    store = Store(root / "datasets")
    first = store.find("客服")
    job = SimpleNamespace(job=SimpleNamespace(id="j1"))

    def start(kind: str, arguments: Any, *, given: Any, leads_to: str) -> Any:
        folder = root / "job"
        folder.mkdir(exist_ok=True)
        for name, text in given.items():
            (folder / name).write_text(text, "utf-8")
        started.append((arguments("job"), leads_to))
        return job

    started: list[tuple[list[str], str]] = []
    monkeypatch.setattr(studio.app.state.shared.jobs, "start", start)
    fields = {"message.1": "一", "was.message.1": "一", "reason": "--x", "name": "客服"}
    fields |= {"message.2": "-- '二'\n", "was.message.2": "二"}
    for more in (
        {"action": "revise", "id": "a", **fields},
        {"action": "tag", "id": "b/?&", "add": "新"},
        {"action": "retype", "id": "b/?&", "task_type": "x/y"},
        {"action": "drop", "id": "b/?&"},
    ):
        answer = post(client, "edit", version=first.id, **more)
        assert answer.headers["hx-redirect"] == "/jobs/j1"
    assert "nothing is changed" in post(client, "edit", action="tag", id="a", version=first.id).text
    ids = []
    for arguments, _ in started:
        assert run([*arguments, "--json"]) == 0
        ids.append(json.loads(capsys.readouterr().out)["id"])
    assert started[0][1] == "/data/version/%E5%AE%A2%E6%9C%8D"
    revised = store.find("客服")
    assert revised.id == ids[0]
    assert next(iter(revised.records())).messages[1].content == "-- '二'\n"
    expected = [
        Tag(Choice(ids=("b/?&",)), ("新",)),
        Retype(Choice(ids=("b/?&",)), "x/y"),
        Drop(Choice(ids=("b/?&",))),
    ]
    assert ids[1:] == [store.apply(one, first).id for one in expected]
    # Meanwhile the name has moved: what is made is kept and told, and the name stays.
    assert run([*started[0][0], "--message=1=x"]) != 0
    assert "What was made is kept as v" in capsys.readouterr().err
    assert store.find("客服").id == ids[0]


def test_texts_are_revised_and_what_is_untouched_stays(client: httpx2.Client, root: Path) -> None:
    store = Store(root / "datasets")
    first = store.find("客服")
    fields = {"message.1": "Hi\r\nyou", "was.message.1": "Hi\r\nyou", "answer.1": "Yes,\r\nsir"}
    fields |= {"was.answer.1": "Yes", "version": first.id, "id": "p", "name": "客服"}
    assert post(client, "edit", action="revise", reason="礼貌", **fields).status_code == 200
    second = store.find("客服")
    revised = next(one for one in second.records() if one.id == "p")
    assert revised.messages[0].content == "Hi\r\nyou"
    assert revised.responses == (Response("Yes,\nsir", 1),)
    assert [one.detail for one in second.ledger() if one.fate == "edited"] == ["礼貌"]
    query = {"before": first.id, "after": "客服"}
    text = client.get("/data/diff", params=query).text
    assert shown(text) == ["p"]
    text = client.get("/data/compare", params={**query, "id": "p"}).text
    assert "Yes<ins>,\nsir</ins>" in text


def test_a_task_type_is_changed_and_a_record_dropped(client: httpx2.Client, root: Path) -> None:
    store = Store(root / "datasets")
    first = store.find("客服")
    fields = {"version": first.id, "id": "c"}
    assert post(client, "edit", action="retype", task_type="x/y", name="t", **fields).is_success
    assert post(client, "edit", action="drop", reason="旧", name="d", **fields).is_success
    assert store.find("t").id == store.apply(Retype(Choice(ids=("c",)), "x/y"), first).id
    dropped = client.get("/data/ledger/d?fate=dropped").text
    assert "旧" in dropped
    assert "1 to 1 of 1" in dropped
    assert "1 to 50 of 124" in client.get("/data/ledger/d").text
    assert (
        client.get("/data/ledger/d?id=c", headers={"hx-target": "ledger"}).text.count("<tr data")
        == 1
    )
    removed = client.get(f"/data/diff?before={first.id}&after=d").text
    assert shown(removed) == ["c"]
    assert "124 → 123" in removed
    assert shown(client.get(f"/data/diff?before={first.id}&after=t").text) == ["c"]
    assert store.find("客服").id == first.id


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("version/客户", "客服"),
        ("version/none@2", "no dataset"),
        ("record/客服?id=none", "no record"),
        ("ledger/none", "no dataset"),
        ("diff?before=none&after=客服", "no dataset"),
        ("diff?before=客服&after=客服&kind=odd", "must be one of"),
        ("compare?before=客服&after=客服&id=none", "no record"),
    ],
)
def test_what_is_unknown_is_said(client: httpx2.Client, path: str, says: str) -> None:
    answer = client.get(f"/data/{path}")
    assert answer.status_code in (400, 404)
    assert says in answer.text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"action": "burn"}, "no edit"),
        ({"action": "drop", "id": "none"}, "nothing is changed"),
        ({"action": "retype", "task_type": "one"}, "one"),
        ({"action": "tag"}, "nothing is changed"),
        ({"action": "revise"}, "nothing is changed"),
        ({"action": "drop", "name": "a/b"}, "no name"),
        ({"action": "revise", "message.1": "x"}, "error"),
    ],
)
def test_an_edit_that_is_wrong_leaves_no_version(
    client: httpx2.Client, root: Path, fields: dict[str, str], says: str
) -> None:
    store = Store(root / "datasets")
    given = {"version": store.find("客服").id, "id": "a", "name": "客服"} | fields
    answer = post(client, "edit", **given)
    if says == "error":  # a whole revision, for the others to be told from
        assert answer.is_success
        return
    assert answer.status_code == 400
    assert says in answer.text
    assert len(store.versions()) == 1


def test_the_page_holds_up_without_data_and_in_chinese(tmp_path: Path) -> None:
    with running(tmp_path) as studio, studio.entered() as client:
        assert "danlu data import" in client.get("/data").text
        client.cookies.set("danlu_language", "zh")
        assert "还没有数据集" in client.get("/data").text


def test_the_index_finds_what_the_choice_finds(root: Path) -> None:
    version = Store(root / "datasets").find("客服")
    base = root / "cache"
    index = RecordIndex(build(base, version, "records"), version)
    for text in ("电脑", "１", "print 1", "x" * 30, "hi you", "二"):
        expected = [one.id for one in RECORDS if Choice(text=text).fits(one)]
        assert [one.id for one in index.read(index.find(text=text))] == expected
    assert index.position("n119") == 123
    assert index.position("none") is None


def test_pages_read_only_the_records_that_they_show(
    client: httpx2.Client, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large a version is: a page has fifty records, and no page reads them all."""
    import danlu.studio.data_index as module

    client.get("/data/record/客服?id=a")  # the indexes of records and ledger are there
    decode, read = module.decode_record, []

    def all_records(self: Version) -> None:
        raise AssertionError("a page goes through all records")

    monkeypatch.setattr(module, "decode_record", lambda line: read.append(1) or decode(line))
    monkeypatch.setattr(Version, "records", all_records)
    monkeypatch.setattr(Version, "ledger", all_records)
    for path, most in (
        ("version/客服", 50),
        ("version/客服?task_type=code/*&sort=long", 50),
        ("version/客服?q=print", 50),
        ("version/客服?q=nowhere", 0),
        ("version/客服?first=100", 24),
        ("record/客服?id=n100", 2),
        ("ledger/客服", 0),
        ("checks/客服", 0),
        ("", 0),
    ):
        read.clear()
        assert client.get(f"/data/{path}".rstrip("/")).status_code == 200
        assert len(read) <= most, path


def test_parquet_is_read_by_its_groups(root: Path) -> None:
    pytest.importorskip("pyarrow")
    store = Store(root / "datasets")
    source = Source(str(root / "in.jsonl"), format="danlu")
    version = import_files(store, [source], file_format="parquet")
    index = RecordIndex(build(root / "cache", version, "records"), version)
    assert [one.id for one in index.read([123, 0])] == ["n119", "a"]


def test_a_large_version_is_read_by_a_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.studio.datasets.INLINE_BYTES", 10)
    shutil.rmtree(root / ".danlu" / "studio" / "data", ignore_errors=True)
    own = Datasets(Workspace(root))
    version = own.store.find("客服")
    assert own.records(version) is None
    (process,) = own._reading.values()
    assert process.wait(60) == 0
    found = own.records(version)
    assert found is not None
    assert len(found) == 124


def test_a_version_that_is_being_read_shows_its_beginning(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Datasets, "records", lambda *_: None)
    text = client.get("/data/version/客服").text
    assert "Reading the version" in text
    assert shown(text)[0] == "a"
    searched = client.get("/data/version/客服?q=x").text
    assert shown(searched) == []
    waits = client.get("/data/record/客服?id=a").text
    assert 'hx-trigger="load delay' in waits
    (address,) = re.findall(r'hx-get="(/data/reading[^"]*)"', waits)
    part = client.get(html.unescape(address), headers={"hx-target": "reading"})
    assert part.text.startswith('<div id="reading" hx-get=')
    assert "hx-refresh" not in part.headers
    monkeypatch.undo()
    assert client.get(html.unescape(address)).headers["hx-refresh"] == "true"


def test_who_waits_for_a_version_that_cannot_be_read_is_told(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And asks no more: a reload would begin to read it again."""

    def broken(*_: object) -> None:
        raise StoreError("the file is broken.")

    monkeypatch.setattr(Datasets, "records", broken)
    answer = client.get("/data/reading", params={"version": "客服"})
    assert answer.status_code == 200
    assert "the file is broken." in answer.text
    assert "hx-get" not in answer.text


def test_a_broken_version_is_said_by_the_process(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("danlu.studio.datasets.INLINE_BYTES", 10)
    shutil.rmtree(root / ".danlu" / "studio" / "data", ignore_errors=True)
    own = Datasets(Workspace(root))
    version = own.store.find("客服")
    version.records_path.write_bytes(b'{"id": \n' * 9)
    assert own.records(version) is None
    (process,) = own._reading.values()
    assert process.wait(60) == 1
    with pytest.raises(StoreError, match="changed by hand"):
        own.records(version)


def test_the_graph_joins_where_a_version_has_two_parents(root: Path) -> None:
    store = Store(root / "datasets")
    first = store.find("客服")
    left = store.apply(Drop(Choice(task_types=("code/*",))), first)
    right = store.apply(Drop(Choice(task_types=("[!c]*", "chat/*"))), first)
    right = store.apply(Revise("n000", ((1, "?"),)), right)
    whole = merge(store, [left, right])
    rows = version_rows(store)
    assert rows[0].version.id == whole.id
    assert sorted(rows[0].down) == [0, 1]
    for above, below in itertools.pairwise(rows):
        leaving = {*above.through, *above.down}
        assert leaving == {*below.through, *([below.lane] if below.up else [])}


def test_texts_are_compared_by_character() -> None:
    assert text_pieces("abc", "abc") == [("same", "abc")]
    assert text_pieces("", "新") == [("new", "新")]
    assert text_pieces("x\n" * 4000, "x\n" * 4000 + "y\n")[-1] == ("new", "y\n")
    long = "".join(f"{at}\n" for at in range(2000))
    pieces = text_pieces(f"a{long}b", f"c{long}d")
    assert "".join(text for kind, text in pieces if kind != "new") == f"a{long}b"
    assert "".join(text for kind, text in pieces if kind != "gone") == f"c{long}d"
    assert text_pieces("aa", "aaa") == [("same", "aa"), ("new", "a")]
