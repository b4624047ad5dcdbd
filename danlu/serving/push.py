"""An exported folder to the model hub, by ``huggingface_hub``.

The token comes from the environment (``HF_TOKEN``) and from nowhere else; it is in no file, no
message and no argument.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from danlu.errors import DanluError
from danlu.models.source import HUB_ID

TOKEN_VARIABLE = "HF_TOKEN"
WEIGHTS = (".safetensors", ".gguf")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True)
class Pushed:
    """What was uploaded.

    Attributes:
        url: Of the model's page.
        commit: Of this upload.
        files: How many.
        size_bytes: Of all together.
    """

    url: str
    commit: str
    files: int
    size_bytes: int


def push(
    folder: str | Path,
    repo: str,
    *,
    public: bool = False,
    message: str = "Upload by danlu",
    endpoint: str | None = None,
) -> Pushed:
    """Upload a folder to a model repository, which is made where it is missing.

    Args:
        folder: As ``danlu export`` wrote it.
        repo: ``OWNER/NAME``.
        public: Make a new repository public; an old one stays as it is.
        message: Of the commit.
        endpoint: Address of another hub; None is huggingface.co, or ``$HF_ENDPOINT``.

    Raises:
        DanluError: If the folder is no export, there is no token, or the hub refuses.
    """
    from huggingface_hub import HfApi

    place = Path(folder)
    files = uploaded_files(place)
    check_repo(repo)
    token = hub_token()
    api = HfApi(endpoint=endpoint, token=token)
    with _told(repo, token):
        api.create_repo(repo, private=not public, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            folder_path=place,
            allow_patterns=[str(file.relative_to(place)) for file in files],
            commit_message=message,
        )
    size = sum(file.stat().st_size for file in files)
    return Pushed(f"{api.endpoint}/{repo}", done.oid, len(files), size)


def check_repo(repo: str) -> None:
    """Check the form of a repository's name.

    Raises:
        DanluError: If it is not ``OWNER/NAME``.
    """
    if "/" not in repo or not HUB_ID.fullmatch(repo):
        raise DanluError(f"{repo!r} is no repository: write OWNER/NAME.", where="--push")


def hub_token() -> str:
    """Return the hub's token from the environment.

    Raises:
        DanluError: If there is none.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise DanluError(
            f"the hub asks for a token that may write: set the variable {TOKEN_VARIABLE} (made at "
            "huggingface.co/settings/tokens). It is not taken from an argument or a file."
        )
    return token


def uploaded_files(folder: Path) -> list[Path]:
    """Return what of a folder is uploaded: all but hidden files.

    Raises:
        DanluError: If it is no model with a card, holds pickles, or its card asks for a licence.
    """
    if not folder.is_dir():
        raise DanluError("there is no such folder; danlu export makes one.", where=str(folder))
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    if pickles := [file.name for file in files if file.suffix in PICKLES]:
        raise DanluError(
            f"holds pickles ({', '.join(pickles[:3])}), which can run code when opened: export the "
            "model as safetensors or GGUF.",
            where=str(folder),
        )
    card = folder / "README.md"
    if not card.is_file() or not any(file.suffix in WEIGHTS for file in files):
        raise DanluError(
            "holds no model with a card: push a folder that danlu export wrote.", where=str(folder)
        )
    if "**TODO" in card.read_text("utf-8"):
        raise DanluError(
            "the model card has a TODO left (the licence): write it there, and in the line "
            "'license:' at the top, then push again.",
            where=str(card),
        )
    return files


@contextmanager
def _told(repo: str, token: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into an error with a remedy, the token blotted out."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise DanluError("HF_HUB_OFFLINE is set: unset it to upload.", where=repo) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            remedy = f"the token in {TOKEN_VARIABLE} may not write there"
        else:
            remedy = f"the hub refuses ({status})"
        said = (error.server_message or str(error).split("\n")[0]).replace(token, "***")
        raise DanluError(f"{remedy}: {said}", where=repo) from error
    except (httpx2.HTTPError, OSError, ValueError) as error:
        said = str(error).split("\n")[0].replace(token, "***")
        raise DanluError(
            f"the upload failed ({said}); nothing was published.", where=repo
        ) from error
