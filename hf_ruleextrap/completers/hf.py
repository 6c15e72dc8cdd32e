"""A text completer for any causal language model of transformers, with any tokenizer, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.tokenization import writes_text

from ._positions import check_positions
from .base import Abilities, Answer, BackendConfig, Request
from .generation import generate
from .loading import load_model, load_tokenizer
from .thoughts import opened_thought
from .tokens import TextTokens

if TYPE_CHECKING:
    import torch

_WHOLE_VOCABULARY = 1 << 14


class HfCompleter:
    """A text completer that generates with transformers, on the GPU if the machine has one.

    A batch contains texts with equal numbers of tokens and therefore no padding. Each sampled row has its own random
    numbers: Gumbel noise is added to the log-probabilities, and the largest sum is taken. An answer therefore depends
    neither on the other rows nor on the answers that a killed run already has.
    """

    def __init__(self, backend: BackendConfig) -> None:
        """Load a checkpoint: a folder, or a repository of the Hub.

        Raises:
            RuleExtrapError: If there is no such checkpoint, or if its tokenizer cannot encode the protocol's texts.
        """
        import torch

        name = backend.model
        on_gpu = torch.cuda.is_available()
        self.tokenizer = backend.tokenizer or load_tokenizer(name, trust_remote_code=backend.trust_remote_code)
        # Half precision is slow on a CPU, and less exact.
        model: Any = load_model(
            name, trust_remote_code=backend.trust_remote_code, dtype="auto" if on_gpu else torch.float32
        )
        if not writes_text(self.tokenizer):
            raise RuleExtrapError(
                f"the tokenizer of {name} has no spaces and line breaks, which the text protocol needs: "
                "leave out the flags of the protocol, and the model is evaluated symbol by symbol"
            )
        self.texts = TextTokens(self.tokenizer, name)
        self.model = model.to("cuda" if on_gpu else "cpu").eval()
        self.batch_size = backend.batch_size
        self.abilities = Abilities(
            plain=True, chat=self.tokenizer.chat_template is not None, sampling=True, log_probabilities=True
        )
        self.identity: dict[str, Any] = {
            "backend": "hf",
            "model": name,
            "weights": _weights(Path(name)) or getattr(model.config, "_commit_hash", None),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": self.model.device.type,
        }
        end_ids = _ids(model.generation_config.eos_token_id, name)
        self.texts.check_ends(sorted(end_ids))
        self._ends = end_ids | _ids(self.tokenizer.eos_token_id, name)
        self._stops: dict[str, set[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; see `TextCompleter.encode`.

        Raises:
            RuleExtrapError: If the tokenizer changes the text.
        """
        return self.texts.plain(text)

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """Answer requests; see `TextCompleter.answers`.

        Raises:
            RuleExtrapError: If a prompt and its completion are longer than the model can read.
        """
        tokens = [self._tokens(request) for request in requests]
        # The model does not read the last new token.
        longest = max(
            (len(ids) + request.max_new_tokens - 1 for ids, request in zip(tokens, requests, strict=True)), default=0
        )
        advice = "give fewer context words or new symbols, or use a model with more positions"
        check_positions(self.model, longest, "the prompts and their completions", advice)

        def alike(row: int) -> tuple[int, int, str]:
            return len(tokens[row]), requests[row].max_new_tokens, requests[row].stop or ""

        for rows in _batches([alike(row) for row in range(len(requests))], self.batch_size):
            answers = self._generate([tokens[row] for row in rows], [requests[row] for row in rows])
            yield from zip(rows, answers, strict=True)

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Compute log-probabilities; see `TextCompleter.log_probabilities`.

        The two texts of a pair are tokenized together. If the border between them is inside a token, they are
        tokenized separately.

        Raises:
            RuleExtrapError: If the tokenizer changes a text, if the border of a pair cannot be determined, or if a pair
                is longer than the model can read.
        """
        import torch

        sums = np.zeros(len(pairs))
        tokens_of = [self.texts.pair(before, after) for before, after in pairs]
        longest = max((len(first) + len(second) for first, second in tokens_of), default=0)
        check_positions(self.model, longest, "the pairs of texts", "give fewer context words or shorter words")
        for rows in _batches([(len(first) + len(second),) for first, second in tokens_of], self.batch_size):
            ids = torch.tensor([[*tokens_of[row][0], *tokens_of[row][1]] for row in rows], device=self.model.device)
            with torch.inference_mode():
                logits = self.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
                each = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0].double().cpu().numpy()
            for row, values in zip(rows, each, strict=True):
                sums[row] = values[max(len(tokens_of[row][0]) - 1, 0) :].sum()
        return sums

    def _tokens(self, request: Request) -> list[int]:
        if isinstance(request.prompt, str):
            return self.texts.of(request.prompt)
        return self.texts.conversation([{"role": turn.role, "content": turn.content} for turn in request.prompt])

    def _generate(self, tokens: list[list[int]], requests: list[Request]) -> list[Answer]:
        import torch

        stops = self._ends | (self._holding(requests[0].stop) if requests[0].stop else set())
        with torch.inference_mode():
            output = generate(
                self.model,
                torch.tensor(tokens, device=self.model.device),
                max_new_tokens=requests[0].max_new_tokens,
                eos_ids=sorted(stops),
                pad_id=min(stops, default=0),
                processors=[_Draw(requests)],
            )
        rows = zip(requests, tokens, output.tolist(), strict=True)
        return [self._answer(before, new, stops, chat=request.chat) for request, before, new in rows]

    def _answer(self, before: list[int], new: list[int], stops: set[int], *, chat: bool) -> Answer:
        place = next((i for i, token in enumerate(new) if token in stops), None)
        kept = new if place is None else new[: place + 1]
        # The end is no text. Any other special token is, and no symbol.
        if place is not None and new[place] in self._ends:
            kept = new[:place]
        opening = opened_thought(self.texts.text(before)) if chat else ""
        return Answer(opening + self.texts.added(before, kept), ended=place is not None)

    def _holding(self, stop: str) -> set[int]:
        """Return the tokens that contain a text."""
        if stop not in self._stops:
            stop_ids: set[int] = set()
            for first in range(0, len(self.tokenizer), _WHOLE_VOCABULARY):
                ids = range(first, min(first + _WHOLE_VOCABULARY, len(self.tokenizer)))
                texts = self.tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
                stop_ids |= {i for i, text in zip(ids, texts, strict=True) if stop in text}
            self._stops[stop] = stop_ids
        return self._stops[stop]


class _Draw:
    """A logits processor whose largest score is a sample at the temperature of the row."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.temperatures = [request.temperature for request in requests]
        self.rngs = [np.random.default_rng([request.seed, request.sample]) for request in requests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the (B, V) scores of the next token, with noise in the rows whose tokens are sampled."""
        import torch

        del input_ids
        scores = scores.float()
        for row, (temperature, rng) in enumerate(zip(self.temperatures, self.rngs, strict=True)):
            if temperature:
                noise = torch.from_numpy(rng.gumbel(size=scores.shape[1])).to(scores)
                scores[row] = scores[row] / temperature + noise
        return scores


def _batches(keys: Sequence[tuple[Any, ...]], size: int) -> Iterator[list[int]]:
    """Yield batches of at most ``size`` indices with equal keys, the smallest keys first."""
    by_key: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(keys):
        by_key.setdefault(key, []).append(place)
    for key in sorted(by_key):
        for first in range(0, len(by_key[key]), size):
            yield by_key[key][first : first + size]


def _ids(setting: object, name: str) -> set[int]:
    """Return the token ids of a setting that holds one id, several ids or none."""
    ids = [] if setting is None else setting if isinstance(setting, list) else [setting]
    if not all(isinstance(token, int) and token >= 0 for token in ids):
        raise RuleExtrapError(f"eos_token_id of {name} is {setting}: give token ids in its generation_config.json")
    return set(ids)


def _weights(folder: Path) -> list[tuple[str, int, int]]:
    """Return the name, size and time of a checkpoint's files, so that answers of an older checkpoint are not reused."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".jinja", ".model"))
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
