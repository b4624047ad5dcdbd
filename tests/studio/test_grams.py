"""Signatures of blocks: nothing that a block has is missed, and what it lacks is seldom read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.studio import grams
from danlu.studio.grams import Grams, borders, hashes, write_grams


def made(folder: Path, records: list[bytes]) -> Grams:
    ends = np.cumsum([0, *(len(one) for one in records)])
    (folder / "text").write_bytes(b"".join(records))
    write_grams(folder / "grams", folder / "text", ends)
    return Grams(folder / "grams", ends)


def test_a_hash_is_of_four_bytes() -> None:
    """Worked by hand: 'abcd' is 0x64636261; times Knuth's factor, of 32 bits the upper 16."""
    assert hashes(b"abcd").tolist() == [(0x64636261 * 2654435761 % 2**32) >> 16]
    assert len(hashes(b"abcdef")) == 3
    assert hashes(b"abc").tolist() == []


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=40), st.data())
def test_whatever_a_record_holds_lies_within_the_places(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grams, "BLOCK_BYTES", 20)  # many blocks, and several rows of eight
        patch.setattr(grams, "SLICE_BYTES", 5)
        found = made(tmp_path_factory.mktemp("grams"), records)
        at = data.draw(st.integers(0, len(records) - 1))
        first = data.draw(st.integers(0, len(records[at]) - 1))
        last = data.draw(st.integers(first + 1, len(records[at])))
        begin = sum(map(len, records[:at]))
        places = found.places(records[at][first:last])
    assert any(one <= begin + first and begin + last <= other for one, other in places)


def test_what_is_rare_is_sought_in_its_own_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grams, "BLOCK_BYTES", 100)
    records = [
        f"record {at} of many, each with its own words {at * at}\n".encode() for at in range(99)
    ]
    found = made(tmp_path, records)
    whole = sum(map(len, records))
    sizes = {
        sought: sum(last - first for first, last in found.places(sought.encode()))
        for sought in ("of many, each", "words 9604", "nowhere", "rec", "")
    }
    assert sizes["of many, each"] == sizes["rec"] == sizes[""] == whole
    assert 0 < sizes["words 9604"] < 300
    assert sizes["nowhere"] == 0


def test_a_text_without_a_record_has_no_place(tmp_path: Path) -> None:
    assert made(tmp_path, []).places(b"abcd") == []
    assert borders(np.array([0])).tolist() == [0]
