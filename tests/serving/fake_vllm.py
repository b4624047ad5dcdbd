"""A stand-in for the program ``vllm``: a real server that shows how it was started.

It renders and cuts prompts with the template and the tokenizer that it was given, as vLLM does.
"""

import itertools
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main(arguments: list[str]) -> None:
    if "--fail" in arguments:
        sys.exit("CUDA out of memory, says the stand-in")
    options = dict(itertools.pairwise(arguments))
    template = Path(options["--chat-template"]).read_text("utf-8")
    if "--otherwise" in arguments:
        template = template.replace("assistant", "asistant")
    base = options["--served-model-name"]
    names = [json.loads(one)["name"] for one in arguments if one.startswith("{")]
    from jinja2 import Environment
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{arguments[1]}/tokenizer.json")
    compiled = Environment().from_string(template)
    seen = {
        "arguments": arguments,
        "template": template,
        "generation": json.loads(
            (Path(options["--generation-config"]) / "generation_config.json").read_text("utf-8")
        ),
        "pid": os.getpid(),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                self.send({})
            elif self.may():
                self.send({"data": [{"id": one, "max_model_len": 99} for one in [base, *names]]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self.may():
                return
            if self.path == "/tokenize":
                text = compiled.render(
                    messages=asked["messages"], tools=asked.get("tools"), add_generation_prompt=True
                )
                found = tokenizer.encode(text, add_special_tokens=False).ids
                self.send({"tokens": found, "count": len(found), "max_model_len": 99})
                return
            message = {"role": "assistant", "content": json.dumps(seen)}
            self.send({"id": "chatcmpl-1", "choices": [{"index": 0, "message": message}]})

        def may(self) -> bool:
            right = self.headers["authorization"] == f"Bearer {os.environ['VLLM_API_KEY']}"
            if not right:
                self.send({"error": "Unauthorized"}, 401)
            return right

        def log_message(self, *_: object) -> None:
            pass

        def send(self, body: object, status: int = 200) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    ThreadingHTTPServer(("127.0.0.1", int(options["--port"])), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
