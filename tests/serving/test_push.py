"""Uploading to a hub: a real one over a socket, small; only whole exports, and no token told."""

import pytest

from danlu.errors import DanluError
from danlu.serving.push import push
from tests.serving.hub import TOKEN, hub


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "out"
    made.mkdir()
    (made / "README.md").write_text("---\nlicense: mit\n---\n\n# 丹炉\n", "utf-8")
    (made / "model.safetensors").write_bytes(b"weights")
    (made / ".cache").mkdir()
    (made / ".cache" / "secret").write_text("stays here")
    return made


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub() as state:
        yield state


def test_what_was_exported_arrives(server, folder):
    done = push(folder, "me/danlu-test", endpoint=server.address, message="第一版")
    assert server.repos == {"me/danlu-test": True}  # private
    assert set(server.files) == {"README.md", "model.safetensors"}
    assert server.files["README.md"] == (folder / "README.md").read_bytes()
    assert server.summary == "第一版"
    assert (done.url, done.files) == (f"{server.address}/me/danlu-test", 2)
    assert len(done.commit) == 40
    again = push(folder, "me/danlu-test", endpoint=server.address, public=True)
    assert again.files == 2
    assert server.repos == {"me/danlu-test": True}  # an old repository stays as it is
    push(folder, "me/open", endpoint=server.address, public=True)
    assert server.repos["me/open"] is False


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_told_without_the_token(server, folder, status):
    server.refuses = status
    with pytest.raises(
        DanluError, match="HF_TOKEN may not write" if status < 500 else "refuses"
    ) as e:
        push(folder, "me/x", endpoint=server.address)
    assert TOKEN not in str(e.value)
    assert server.files == {}


def test_only_whole_exports_go_up(server, folder, monkeypatch):
    def refused(match):
        with pytest.raises(DanluError, match=match):
            push(folder, "me/x", endpoint=server.address)

    (folder / "old.bin").write_bytes(b"")
    refused("holds pickles")
    (folder / "old.bin").unlink()
    (folder / "README.md").write_text("**TODO: the licence.**")
    refused("has a TODO left")
    (folder / "README.md").unlink()
    refused("no model with a card")
    (folder / "README.md").write_text("# x")
    with pytest.raises(DanluError, match="write OWNER/NAME"):
        push(folder, "x", endpoint=server.address)
    monkeypatch.delenv("HF_TOKEN")
    refused("set the variable HF_TOKEN")
    assert server.repos == {}
    with pytest.raises(DanluError, match="no such folder"):
        push(folder / "nowhere", "me/x")


def test_a_hub_that_is_not_there_is_told(folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(DanluError, match=r"upload failed|refuses"):
        push(folder, "me/x", endpoint="http://127.0.0.1:9")
