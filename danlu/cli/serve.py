"""``danlu serve`` and ``danlu keys``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.options import gathered
from danlu.cli.output import note, result, result_json

if TYPE_CHECKING:
    from danlu.serving.engines.start import EngineSettings
    from danlu.serving.server.settings import ServerSettings

EPILOG = """\b
Examples:
  danlu serve runs/quickstart
  danlu serve small=runs/a large=runs/b --port 9000 --capture logs
  danlu serve my-gguf/quickstart-Q8_0.gguf
  danlu serve runs/a --engine vllm --engine-option=--gpu-memory-utilization=0.8
  danlu serve --upstream http://127.0.0.1:8080/v1 --keys keys.json --capture logs
  danlu serve support=runs/a --upstream https://models.example.org/v1
  danlu keys add office && danlu serve runs/quickstart --host 0.0.0.0 --keys keys.json
  curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "quickstart", "messages": [{"role": "user", "content": "Who are you?"}]}'
"""

KEYS_FILE = Path("keys.json")
LONGEST = 1024


@dataclass(frozen=True)
class ServeOptions:
    """How models are served: each field is an option."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys, made by `danlu keys add`.")
    ] = None
    origin: Annotated[
        list[str] | None, typer.Option(help="A web page that may ask from a browser (CORS).")
    ] = None
    template: Annotated[
        str | None, typer.Option(help="Chat template, for a model without one of its own.")
    ] = None
    engine: Annotated[
        str,
        typer.Option(
            help="What answers: danlu (in this process), llama-cpp (GGUF files), vllm (where it is "
            "installed), or auto: llama-cpp for GGUF files, else danlu."
        ),
    ] = "auto"
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="An OpenAI-compatible server that answers, with this one as its gateway: all its "
            "models, or those named like the runs given. Can be given several times.",
        ),
    ] = None
    upstream_key_variable: Annotated[
        str, typer.Option(help="Environment variable that holds the upstream's API key.")
    ] = "OPENAI_API_KEY"
    engine_option: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Goes to `vllm serve` as it stands; several times."),
    ] = None
    context: Annotated[
        int | None,
        typer.Option(
            min=1, help="Tokens of context: llama-cpp's for all chats together, vllm's for one."
        ),
    ] = None
    start_seconds: Annotated[
        float, typer.Option(help="Longest time for llama-cpp or vllm to start.")
    ] = 600
    longest: Annotated[
        int | None,
        typer.Option(
            help="Longest answer, in tokens: 1024 of danlu; other engines and upstreams are "
            "limited only if this is given."
        ),
    ] = None
    seconds: Annotated[float, typer.Option(help="Longest time for a request.")] = 600
    side_by_side: Annotated[
        int | None,
        typer.Option(min=1, help="Answers computed at a time: 16; vllm's own number for vllm."),
    ] = None
    concurrency: Annotated[int, typer.Option(help="Requests at a time; more get 429.")] = 256
    client_seconds: Annotated[
        float,
        typer.Option(help="Longest time for a client to send a request, or to read its answer."),
    ] = 30
    drain: Annotated[float, typer.Option(help="Seconds for open answers after SIGTERM.")] = 30
    capture: Annotated[
        Path | None,
        typer.Option(help="Folder to write conversations to, personal data masked; else none."),
    ] = None
    keep_days: Annotated[int, typer.Option(help="Days that conversations are kept.")] = 30
    pooling: Annotated[
        str | None,
        typer.Option(
            help="Embeddings are the mean, last or first hidden state; else an encoder's own "
            "way, or the mean."
        ),
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto"
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto"
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with a model.")
    ] = False

    def server(self) -> ServerSettings:
        """Return the server's settings.

        Raises:
            DanluError: If one is out of its limits.
        """
        from danlu.serving.server.settings import ServerSettings

        return ServerSettings(
            host=self.host,
            port=self.port,
            keys=self.keys,
            origins=tuple(self.origin or ()),
            longest=LONGEST if self.longest is None else self.longest,
            seconds=self.seconds,
            concurrency=self.concurrency,
            client_s=self.client_seconds,
            drain_s=self.drain,
            capture=self.capture,
            keep_days=self.keep_days,
        )

    def engines(self) -> EngineSettings:
        """Return what answers.

        Raises:
            DanluError: If there is no such pooling.
        """
        from danlu.serving.engines.start import EngineSettings
        from danlu.serving.gateway.routed import Upstream
        from danlu.serving.server.protocol import checked_pooling

        key = os.environ.get(self.upstream_key_variable)
        return EngineSettings(
            engine=self.engine,
            upstreams=tuple(Upstream(one, key) for one in self.upstream or ()),
            rows=self.side_by_side,
            context_tokens=self.context,
            seconds=self.start_seconds,
            options=tuple(self.engine_option or ()),
            device=self.device,
            precision=self.precision,
            template=self.template,
            longest=self.longest,
            pooling=None if self.pooling is None else checked_pooling(self.pooling),
            trust_remote_code=self.trust_remote_code,
        )


def serve(
    options: ServeOptions,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]MODEL_OR_RUN...",
            help="Run directories, folders, GGUF files, hub ids or builtin:NAME; clients call each "
            "by NAME, or by the last part of its path.",
        ),
    ] = None,
) -> int:
    """Serve models over OpenAI's API.

    LoRA adapters of one base share it.
    """
    from danlu.serving.needs import must_have

    must_have("fastapi", "uvicorn", "prometheus_client", extra="serve")
    from danlu.serving.engines.start import started
    from danlu.serving.server.origin import Wanted
    from danlu.serving.server.run import listen, serve

    settings, engines = options.server(), options.engines()
    wanted = [Wanted.of(one) for one in models or ()]
    with listen(settings) as listening, started(wanted, engines, note) as (served, routed):

        def ready(address: str) -> None:
            names = ", ".join([*(one.name for one in served), *(one.name for one in routed)])
            note(f"Serving {names} at {address}/v1 (Ctrl-C ends it)")

        serve(served, settings, listening, ready, routed=routed)
    return 0


keys_app = typer.Typer(
    name="keys",
    help="API keys for `danlu serve`: made once, kept as hashes.",
    no_args_is_help=True,
)

KeysFile = Annotated[Path, typer.Option("--file", help="Where the hashes are kept.")]


@keys_app.command("add", epilog="Example: danlu keys add office")
def add(
    name: Annotated[str, typer.Argument(help="Whose key it is.")], file: KeysFile = KEYS_FILE
) -> int:
    """Make a key and print it; it is shown this once."""
    from danlu.serving.server.keys import Keys

    result(Keys(file).add(name))
    note(f"Keep it: {file} has only its hash.")
    return 0


@keys_app.command("remove", epilog="Example: danlu keys remove office")
def remove(
    name: Annotated[str, typer.Argument(help="Whose key it is.")], file: KeysFile = KEYS_FILE
) -> int:
    """Let a key open nothing any more, at once."""
    from danlu.serving.server.keys import Keys

    Keys(file).remove(name)
    note(f"{name} is removed.")
    return 0


@keys_app.command("list", epilog="Example: danlu keys list")
def list_keys(
    file: KeysFile = KEYS_FILE,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> int:
    """List whose keys there are, and when each was made."""
    from danlu.serving.server.keys import Keys

    names = Keys(file).names()
    if as_json:
        result_json(names)
    else:
        result("\n".join(f"{name}  {made}" for name, made in names.items()) or "no keys")
    return 0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve", epilog=EPILOG)(gathered(serve, "options", ServeOptions))
    app.add_typer(keys_app)
