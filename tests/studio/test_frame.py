"""Who gets in, what changes are taken, what leaves with every answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from danlu.errors import DanluError, RunError
from danlu.studio.sessions import TRIES, Sessions
from danlu.studio.settings import StudioSettings
from danlu.studio.workspace import Workspace
from tests.studio.running import Running, running

PASSWORD = "a long one of ours"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("workspace"), body_bytes=2000) as one:
        yield one


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    workspace = tmp_path_factory.mktemp("workspace")
    with running(workspace, host="0.0.0.0", password=PASSWORD) as one:
        yield one


def test_the_token_lets_a_browser_in_and_leaves_the_address(studio: Running) -> None:
    with studio.client() as client:
        answer = client.get("/", params={"token": studio.sessions.token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/runs").status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", "令牌"])
def test_no_other_token_does(studio: Running, token: str) -> None:
    with studio.client() as client:
        answer = client.get("/", params={"token": token})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert client.get("/", headers={"accept": "text/html"}).headers["location"] == "/login"


def test_the_token_of_the_opened_address_works_once() -> None:
    sessions = Sessions(None)
    token = sessions.once()
    key = sessions.by_token(token)
    assert sessions.find(key) is not None
    assert sessions.by_token(token) is None
    sessions.end(key)
    assert sessions.find(key) is None


def test_where_a_password_is_asked_for_the_token_is_no_way_in(locked: Running) -> None:
    with locked.client() as client:
        assert client.get("/", params={"token": locked.sessions.token}).status_code == 401
        assert client.post("/login", data={"password": "wrong"}).status_code == 403
        answer = client.post("/login", data={"password": PASSWORD})
        assert answer.headers["location"] == "/"
        assert client.get("/runs").status_code == 200


def test_passwords_are_not_to_be_guessed() -> None:
    sessions = Sessions(PASSWORD)
    for number in range(TRIES):
        assert sessions.by_password(f"guess {number}") is None
    assert sessions.must_wait()
    assert sessions.by_password(PASSWORD) is None


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "192.168.1.7", ""])
def test_another_host_name_is_refused(studio: Running, host: str) -> None:
    """A page of another site, whose name was made to point here, sends its own name."""
    with studio.entered() as client:
        assert client.get("/runs", headers={"host": host}).status_code == 421


def test_other_machines_may_use_addresses_and_known_names(locked: Running) -> None:
    with locked.client() as client:
        statuses = [
            client.get("/login", headers={"host": host}).status_code
            for host in ("192.168.1.7:8760", "[fe80::1]:8760", "evil.example")
        ]
    assert statuses == [200, 200, 421]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-csrf-token": ""},
        {"x-csrf-token": "wrong"},
        {"x-csrf-token": b"\xe4"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_a_change_from_elsewhere_is_refused(
    studio: Running, headers: dict[str, str | bytes]
) -> None:
    with studio.entered() as client:
        wrong = client.post("/preferences", data={"language": "zh"}, headers=headers)
        right = client.post("/preferences", data={"language": "zh"})
    assert (wrong.status_code, right.status_code) == (403, 200)
    assert "set-cookie" not in wrong.headers


def test_every_answer_carries_the_policy(studio: Running) -> None:
    with studio.entered() as client:
        answers = [client.get(path) for path in ("/runs", "/nothing", "/assets/studio.css")]
        answers.append(client.get("/runs", headers={"host": "evil.example"}))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert answers[1].status_code == 404


@pytest.mark.parametrize(
    "path", ["/assets/../settings.py", "/assets/%2e%2e%2fsettings.py", "/assets/"]
)
def test_no_file_but_the_assets_is_given(studio: Running, path: str) -> None:
    with studio.client() as client:
        assert client.get(f"/assets/{path}").status_code in (401, 404)


def test_a_large_body_is_refused_whatever_its_length_is_said_to_be(studio: Running) -> None:
    with studio.entered() as client:
        said = client.post("/preferences", content=b"x" * 2001)
        assert said.status_code == 413
        chunks = (b"language=zh&" for _ in range(1000))
        with pytest.raises(httpx2.HTTPError):
            client.post("/preferences", content=chunks).raise_for_status()


def test_language_follows_the_browser_until_it_is_chosen(studio: Running) -> None:
    with studio.entered() as client:
        first = client.get("/runs", headers={"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"})
        assert '<html lang="zh-Hans"' in first.text
        client.post("/preferences", data={"language": "en", "theme": "dark"})
        chosen = client.get("/runs", headers={"accept-language": "zh-CN"})
        assert '<html lang="en" data-theme="dark"' in chosen.text
        assert client.post("/preferences", data={"theme": "<b>"}).status_code == 400


def test_others_are_let_in_by_a_password_only(tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="no password is set"):
        StudioSettings(workspace=tmp_path, host="0.0.0.0")
    with pytest.raises(DanluError, match="at least 12"):
        StudioSettings(workspace=tmp_path, host="0.0.0.0", password="short")
    with pytest.raises(DanluError, match="no such folder"):
        StudioSettings(workspace=tmp_path / "nowhere")


@pytest.mark.parametrize("path", ["..", "/etc/passwd", "a/../../b", "link/file", "a\0b"])
def test_no_path_leads_out_of_the_workspace(tmp_path: Path, path: str) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(RunError, match="not in the workspace"):
        Workspace(root).inside(path)
    assert Workspace(root).inside("a/b") == root.resolve() / "a" / "b"


@pytest.mark.parametrize(
    "name", ["runs/..", "runs/.", "other/a", "a", "runs/../x", "runs/link", ""]
)
def test_no_name_leads_to_a_run_elsewhere(tmp_path: Path, name: str) -> None:
    root = tmp_path / "workspace"
    for folder in (root / "runs" / "a", tmp_path / "x", root):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "status.json").write_text("{}")
    (root / "runs" / "link").symlink_to(tmp_path / "x")
    workspace = Workspace(root)
    assert workspace.run("runs/a").path == root.resolve() / "runs" / "a"
    with pytest.raises(RunError, match="no such run"):
        workspace.run(name)


def test_who_leaves_is_out(locked: Running) -> None:
    with locked.client() as client:
        client.post("/login", data={"password": PASSWORD})
        (key,) = client.cookies.values()
        session = locked.sessions.find(key)
        assert session is not None
        assert 'hx-post="/logout"' in client.get("/runs").text
        client.post("/logout", headers={"x-csrf-token": session.csrf})
        assert locked.sessions.find(key) is None
        assert client.get("/runs").status_code == 401
