"""Any causal language model with any tokenizer, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.words import FloatArray
from hf_ruleextrap.tokenization import writes_text

from .base import Abilities, Answer, Backend, Request

if TYPE_CHECKING:
    import torch

_WHOLE_VOCABULARY = 1 << 14


class HfCompleter:
    """Generates with transformers; on the GPU if there is one.

    Texts of equal length in tokens go through together, so there is never padding. A row that is drawn has random
    numbers of its own (Gumbel noise on the log-probabilities, of which the largest is taken), so an answer does not
    depend on the rows beside it, nor on which were answered before a run was killed.
    """

    def __init__(self, backend: Backend) -> None:
        """Load a checkpoint: a folder, or a repository of the Hub.

        Raises:
            RuleExtrapError: there is none, or its tokenizer cannot write the protocol's texts.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        import hf_ruleextrap.models  # noqa: F401  # registers our architectures

        name, trusted = backend.model, backend.trust_remote_code
        on_gpu = torch.cuda.is_available()
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=trusted)
            # Half precision on a CPU is slow, and rounds more.
            model: Any = AutoModelForCausalLM.from_pretrained(
                name, trust_remote_code=trusted, dtype="auto" if on_gpu else torch.float32
            )
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise RuleExtrapError(f"no checkpoint can be loaded from {name!r}: {reason}") from error
        if not writes_text(self.tokenizer):
            raise RuleExtrapError(
                f"the tokenizer of {name} has no spaces and line breaks, so the text protocol cannot ask it: "
                "leave the protocol's flags out, and it is asked symbol by symbol"
            )
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
        self._ends = _ids(model.generation_config.eos_token_id) | _ids(self.tokenizer.eos_token_id)
        self._stops: dict[str, set[int]] = {}

    def encode(self, text: str) -> list[int]:
        """See `TextCompleter.encode`."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """See `TextCompleter.answers`."""
        tokens = [self._tokens(request) for request in requests]

        def alike(row: int) -> tuple[int, int, str]:
            return len(tokens[row]), requests[row].max_new_tokens, requests[row].stop or ""

        for rows in _batches([alike(row) for row in range(len(requests))], self.batch_size):
            made = self._generate([tokens[row] for row in rows], [requests[row] for row in rows])
            yield from zip(rows, made, strict=True)

    def log_probabilities(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """See `TextCompleter.log_probabilities`.

        The texts are tokenized together; where their border is inside a token, each for itself.
        """
        import torch

        found = np.zeros(len(pairs))
        rows_of: list[tuple[list[int], int]] = []
        for before, after in pairs:
            first, whole = self.tokenizer.encode(before), self.tokenizer.encode(before + after)
            rows_of.append((whole if whole[: len(first)] == first else first + self.encode(after), len(first)))
        for rows in _batches([(len(tokens),) for tokens, _ in rows_of], self.batch_size):
            ids = torch.tensor([rows_of[row][0] for row in rows], device=self.model.device)
            with torch.inference_mode():
                logits = self.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
                each = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0].double().cpu().numpy()
            for row, values in zip(rows, each, strict=True):
                found[row] = values[max(rows_of[row][1] - 1, 0) :].sum()
        return found

    def _tokens(self, request: Request) -> list[int]:
        if isinstance(request.prompt, str):
            return list(self.tokenizer.encode(request.prompt))
        turns = [{"role": turn.role, "content": turn.content} for turn in request.prompt]
        # As text first: what the call gives for tokens differs between versions.
        text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return self.encode(text)

    def _generate(self, tokens: list[list[int]], requests: list[Request]) -> list[Answer]:
        import torch
        from transformers import LogitsProcessorList

        stops = self._ends | (self._holding(requests[0].stop) if requests[0].stop else set())
        inputs = torch.tensor(tokens, device=self.model.device)
        with torch.inference_mode():
            output = self.model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=requests[0].max_new_tokens,
                do_sample=False,
                num_beams=1,
                use_cache=True,
                # A checkpoint's own settings would bend the distribution.
                temperature=1.0,
                top_k=50,
                top_p=1.0,
                repetition_penalty=1.0,
                no_repeat_ngram_size=0,
                eos_token_id=sorted(stops) or None,
                pad_token_id=min(stops, default=0),
                logits_processor=LogitsProcessorList([_Draw(requests)]),
            )
        return [
            self._answer(before, new[inputs.shape[1] :], stops)
            for before, new in zip(tokens, output.tolist(), strict=True)
        ]

    def _answer(self, before: list[int], new: list[int], stops: set[int]) -> Answer:
        place = next((i for i, token in enumerate(new) if token in stops), None)
        kept = new if place is None else new[: place + 1]
        # A token's text may depend on the one before it (a first space, for one).
        prefix, whole = self._text(before), self._text(before + kept)
        text = whole[len(prefix) :] if whole.startswith(prefix) else self._text(kept)
        return Answer(text, ended=place is not None)

    def _text(self, tokens: list[int]) -> str:
        decoded = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded)

    def _holding(self, stop: str) -> set[int]:
        """The tokens with this text in them."""
        if stop not in self._stops:
            found: set[int] = set()
            for first in range(0, len(self.tokenizer), _WHOLE_VOCABULARY):
                ids = range(first, min(first + _WHOLE_VOCABULARY, len(self.tokenizer)))
                texts = self.tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
                found |= {i for i, text in zip(ids, texts, strict=True) if stop in text}
            self._stops[stop] = found
        return self._stops[stop]


class _Draw:
    """A logits processor that makes the largest logit a draw at the row's temperature."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.temperatures = [request.temperature for request in requests]
        self.rngs = [np.random.default_rng([request.seed, request.sample]) for request in requests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(B, V) scores of the next token, noise added where tokens are drawn."""
        import torch

        del input_ids
        scores = scores.float()
        for row, (temperature, rng) in enumerate(zip(self.temperatures, self.rngs, strict=True)):
            if temperature:
                noise = torch.from_numpy(rng.gumbel(size=scores.shape[1])).to(scores)
                scores[row] = scores[row] / temperature + noise
        return scores


def _batches(keys: Sequence[tuple[Any, ...]], size: int) -> Iterator[list[int]]:
    """Places of equal keys together, at most so many, the smallest keys first."""
    by_key: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(keys):
        by_key.setdefault(key, []).append(place)
    for key in sorted(by_key):
        for first in range(0, len(by_key[key]), size):
            yield by_key[key][first : first + size]


def _ids(of: int | list[int] | None) -> set[int]:
    return set() if of is None else set(of) if isinstance(of, list) else {of}


def _weights(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of a folder's files, so that a model that was trained on has other answers."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".jinja", ".model"))
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
