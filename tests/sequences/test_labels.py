"""Classes of records: where they stand, what they may be, how they are numbered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from danlu.errors import RecordError, RunError
from danlu.records.record import Message, Record, Response
from danlu.sequences.labels import MOST_CLASSES, LabelReader, Labels, record_labels

ASKED = Message("user", "Is it open?")


def labelled(label: Any, number: int = 0, column: str = "label") -> Record:
    return Record(f"r{number}", "a/b", (ASKED,), meta={column: label})


def answered(text: str, **meta: Any) -> Record:
    return Record("r", "a/b", (ASKED, Message("assistant", text)), meta=meta)


def found_in(*records: Record, **settings: Any) -> Labels:
    reader = LabelReader(None, multi_label=settings.pop("multi_label", False), **settings)
    for record in records:
        reader.read(record)
    return reader.finish()


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (answered(" 是 \n"), ("是",)),
        (labelled("spam"), ("spam",)),
        (labelled(3), ("3",)),
        (labelled(2.0), ("2",)),
        (labelled(True), ("true",)),
        (labelled("[A]"), ("[A]",)),
        (labelled(["spam"], column="labels"), ("spam",)),
        (answered("It is.", label="polite"), ("polite",)),
        (answered("yes", label=None), ("yes",)),
        (Record("r", "a/b", (ASKED,)), None),
        (Record("r", "a/b", (ASKED,), responses=(Response("a"), Response("b"))), None),
    ],
)
def test_one_class(record, names):
    assert record_labels(record, multi_label=False, separator=",") == names


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (labelled(["a", 2]), ("a", "2")),
        (labelled('["a, b", "c"]', column="labels"), ("a, b", "c")),
        (labelled("a , b,,a"), ("a", "b")),
        (labelled([]), ()),
        (answered(""), ()),
        (answered("体育, 新闻，财经、天气"), ("体育", "新闻", "财经", "天气")),
    ],
)
def test_many_classes(record, names):
    assert record_labels(record, multi_label=True, separator=",") == names


def test_a_separator_of_ones_own():
    own = record_labels(labelled("a|b, c，d"), multi_label=True, separator="|")
    assert own == ("a", "b, c，d")


@pytest.mark.parametrize(
    ("label", "multi_label", "says"),
    [
        (["a", "b"], False, r"record r0: it has 2 classes \(a, b\), and one was to be learned"),
        ([], False, "0 classes"),
        (1.5, False, "its class is 1.5; it must be text or a whole number"),
        ({"a": 1}, False, "it must be text"),
        (" ", False, "its class is empty"),
        ('["a"', True, "no JSON list"),
        (["a", None], True, "its class is None"),
    ],
)
def test_what_is_no_class(label, multi_label, says):
    with pytest.raises(RecordError, match=says):
        record_labels(labelled(label), multi_label=multi_label, separator=",")


def test_classes_are_sorted_and_counted():
    labels = found_in(*(labelled(name) for name in ["no", "yes", "no", "maybe"]))
    assert labels.names == ("maybe", "no", "yes")
    assert [labels.at(position) for position in range(4)] == [(1,), (2,), (1,), (0,)]
    assert labels.counts([0, 1, 2]).tolist() == [0, 2, 1]


def test_numbers_are_sorted_as_numbers():
    assert found_in(*(labelled(n) for n in [10, 9, -1, 2])).names == ("-1", "2", "9", "10")
    assert found_in(*(labelled(n) for n in [10, 9, "x"])).names == ("10", "9", "x")


def test_positions_are_kept_where_a_record_has_no_class():
    nothing = Record("r", "a/b", (ASKED,))
    labels = found_in(labelled("b"), nothing, labelled("a"))
    assert [labels.at(position) for position in range(3)] == [(1,), (), (0,)]
    many = found_in(labelled(["b", "a"]), labelled([]), labelled("a"), multi_label=True)
    assert [many.at(position) for position in range(3)] == [(1, 0), (), (0,)]


def test_kept_and_read_again(tmp_path):
    labels = found_in(labelled("丹"), labelled("a"))
    labels.save(tmp_path / "labels.npz")
    again = Labels.load(tmp_path / "labels.npz")
    assert again.names == labels.names
    assert np.array_equal(again.numbers, labels.numbers)
    (tmp_path / "labels.npz").write_bytes(b"PK broken")
    for name in ("labels.npz", "none.npz"):
        with pytest.raises(RunError, match="begin anew with --overwrite"):
            Labels.load(tmp_path / name)


def test_named_classes_keep_their_order_and_are_all_there_are():
    reader = LabelReader(("yes", "no"), multi_label=False)
    assert reader.read(labelled("no"))
    with pytest.raises(RecordError, match=r"record r7: .*'noo' is none .*Did you mean 'no'\?"):
        reader.read(labelled("noo", 7))
    assert reader.finish().names == ("yes", "no")


def test_answers_are_no_classes():
    with pytest.raises(RecordError, match="30 records have 30 classes, nearly each its own"):
        found_in(*(labelled(f"answer {n}", n) for n in range(30)))
    assert len(found_in(*(labelled(f"class {n // 2}", n) for n in range(30))).names) == 15
    assert len(found_in(*(labelled(f"class {n}", n) for n in range(19))).names) == 19


def test_too_many_classes_are_told_at_once():
    reader = LabelReader(None, multi_label=False)
    for number in range(MOST_CLASSES):
        reader.read(labelled(number, number))
    with pytest.raises(RecordError, match=r"more than 1,000 classes, such as '0', '1', '2'"):
        reader.read(labelled("one more"))
    named = LabelReader(tuple(map(str, range(2000))), multi_label=False)
    for number in range(2000):
        named.read(labelled(number))
    assert len(named.finish().names) == 2000


def test_one_class_is_nothing_to_learn():
    with pytest.raises(RecordError, match="one class only, 'yes'"):
        found_in(labelled("yes"), labelled("yes"))
    with pytest.raises(RecordError, match="no class at all"):
        found_in(labelled([]), multi_label=True)
    assert found_in(labelled("spam"), labelled([]), multi_label=True).names == ("spam",)
    assert found_in(Record("r", "a/b", (ASKED,))).names == ()
