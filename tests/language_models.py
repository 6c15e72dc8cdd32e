"""A small language model of text, and a server that speaks OpenAI's protocol on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hf_ruleextrap.evaluation.protocol import ProtocolSettings, rendered

# The letters end at f, because `transformers serve` encodes "abcdef" to see how a tokenizer joins its tokens.
WORDS = ("a", "b", "c", "d", "e", "f", "dog", "red")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.content + '\n' }}{% endfor %}{% if not add_generation_prompt %}{% endif %}"
)


def text_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with two tokens for each word, with a space before the word and without, and a line break."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokens = ["<pad>", "<eos>", "<unk>", "\n", *WORDS, *(f" {word}" for word in WORDS)]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n| ?(?:dog|red|[a-f])| ?\S+"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>", chat_template=CHAT_TEMPLATE
    )


def write_text_model(folder: Path, *, steps: int = 40, seed: int = 0) -> Path:
    """Train the model for some seconds, write the model and its tokenizer, and return the folder."""
    tokenizer = text_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    settings = ProtocolSettings("anbn", shots=6, max_word_length=8, limit=64)
    rows = [tokenizer.encode(str(rendered(settings, text)))[:32] for text in settings.prompts().texts]
    batches = torch.tensor([row for row in rows if len(row) == 32])
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        ids = batches[rng.integers(len(batches), size=16)]
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# The server.


Script = Callable[["Handler", dict[str, Any], int], None]


def answer_to(body: dict[str, Any]) -> str:
    """Return the answer of the model behind the server: a b for each a in the last line of the prompt.

    An answer that is drawn may have one more b.
    """
    chat = "messages" in body
    line = body["messages"][-1]["content"] if chat else body["prompt"].split("\n")[-1]
    text = " b" * (line.count("a") + (body["seed"] % 2 if body["temperature"] else 0))
    return text.strip() if chat else f"{text}\n"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(json.dumps(body, sort_keys=True))
            number = len(self.server.requests)
        self.server.script(self, body, number)

    def respond(self, content: bytes | str, status: int = 200, *, length: int | None = None, **headers: str) -> None:
        content = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def answer(self, body: dict[str, Any], text: str | None = None, reason: str = "stop") -> None:
        text = answer_to(body) if text is None else text
        with self.server.lock:
            self.server.answered_requests.append(json.dumps(body, sort_keys=True))
        choice = {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        self.respond(json.dumps({"choices": [{**choice, "index": 0, "finish_reason": reason}]}))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in the base class
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.lock = threading.Lock()
        self.requests: list[str] = []
        self.answered_requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        # The client has closed the connection, or was killed.
        pass


def well(handler: Handler, body: dict[str, Any], number: int) -> None:
    del number
    handler.answer(body)


@contextmanager
def serving(script: Script = well) -> Iterator[Server]:
    server = Server(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
