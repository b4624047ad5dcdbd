from __future__ import annotations

import io

import pytest
from PIL import Image, ImageFont

from danlu.runs import History, MetricsRow, figures
from danlu.runs.fonts import FILES, Typeface
from danlu.runs.plot import EVAL, GAP, SMALL_HEIGHT, TRAIN, WIDTH, Pen, loss_png
from tests.runs.synthetic_run import TASK_TYPES, row


def picture(rows: list[MetricsRow], objective: str = "nll") -> Image.Image:
    history = History.of(rows)
    content = loss_png(history, figures(history), objective, title="丹炉 run", subtitle="model")
    return Image.open(io.BytesIO(content)).convert("RGB")


def has_color(image: Image.Image, color: str) -> bool:
    wanted = tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
    return any(found == wanted for _, found in image.getcolors(1 << 24))


def has_font_for(text: str) -> bool:
    return Typeface().legible(text, "") == text


def rows(types: tuple[str, ...] = TASK_TYPES) -> list[MetricsRow]:
    train = [row(step, steps=30, task_types=types) for step in range(1, 31)]
    return [*train, row(30, "eval", steps=30, task_types=types)]


def test_one_panel_per_task_type_below():
    one, five = picture(rows(TASK_TYPES[:1])), picture(rows())
    assert one.width == five.width == WIDTH
    assert five.height > one.height
    assert has_color(five, TRAIN)
    assert has_color(five, EVAL)


def test_accuracy_and_margin_have_panels_and_the_loss_its_name(monkeypatch):
    written: list[str] = []
    monkeypatch.setattr(Pen, "text", lambda pen, x, y, text, *rest: written.append(text))
    plain = picture(rows())
    assert "Loss, nats per token" in written
    written.clear()
    preferred = picture(
        [row(step, steps=30, objective="dpo") for step in range(1, 31)], objective="dpo"
    )
    assert preferred.height == plain.height + SMALL_HEIGHT + GAP
    assert {"Loss (dpo)", "Accuracy, share of pairs", "chance"} <= {*written}
    assert not any("Chosen nll" in text for text in written)


def test_without_metrics_there_is_still_a_picture():
    empty = picture([])
    assert empty.width == WIDTH
    assert not has_color(empty, TRAIN)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_any_number_of_rows_and_types(count):
    types = tuple(f"area/{index}" for index in range(count))
    found = [row(step, steps=count, task_types=types) for step in range(1, count + 1)]
    assert picture(found).height < 2500


def test_a_name_without_a_font_is_numbered_and_counted():
    """With no font but Pillow's own, which is Latin."""
    face = Typeface(files=())
    assert face.legible("identity/name", "task type 1") == "identity/name"
    assert face.legible("通用/常识", "task type 2") == "task type 2"
    assert face.illegible == 1


def test_without_a_font_the_picture_has_no_boxes_but_a_note(monkeypatch):
    monkeypatch.setattr("danlu.runs.plot.Typeface", lambda: Typeface(files=()))
    written: list[str] = []
    monkeypatch.setattr(Pen, "text", lambda pen, x, y, text, *rest: written.append(text))
    picture(rows())
    assert "".join(written).isascii()
    assert "task type 5" in written
    assert any("No font here can write some of the names" in text for text in written)


def test_no_font_draws_boxes_for_a_name_it_calls_legible():
    """Whatever fonts are here: what is chosen for a text has all of its characters."""
    for text in ("café", "通用/常识问答", "日本語", "한국어", "ελληνικά"):
        if not has_font_for(text):
            continue
        font = Typeface().font(text, 16)
        box = bytes(font.getmask("\uffff"))
        assert all(bytes(font.getmask(character)) != box for character in text if character != "/")


@pytest.mark.skipif(not has_font_for("通用"), reason="no font with Chinese characters here")
def test_chinese_names_are_written_where_a_font_has_them():
    assert Typeface(FILES).legible("通用/常识问答", "") == "通用/常识问答"
    assert isinstance(Typeface().font("通用", 16), ImageFont.FreeTypeFont)
