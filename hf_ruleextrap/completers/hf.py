"""A text completer for any causal language model of transformers, with any tokenizer, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ruleextrap.formal.words import FloatArray

from .base import BackendConfig, Request
from .generation import check_positions, generate
from .in_process import InProcess
from .loading import load_model, load_tokenizer

if TYPE_CHECKING:
    import torch


class HfCompleter(InProcess):
    """A text completer that generates with transformers, on the GPU if the machine has one.

    A batch contains texts with equal numbers of tokens and therefore no padding. Each sampled row has its own random
    numbers: Gumbel noise is added to the log-probabilities, and the largest sum is taken. An answer therefore depends
    neither on the other rows nor on the answers that a killed run already has.
    """

    backend_name = "hf"

    def __init__(self, backend: BackendConfig) -> None:
        """Load a checkpoint: a folder, or a repository of the Hub.

        Raises:
            RuleExtrapError: If there is no such checkpoint, or if its tokenizer cannot encode the protocol's texts.
        """
        import torch

        name, trusted = backend.model, backend.trust_remote_code
        on_gpu = torch.cuda.is_available()
        tokenizer = backend.tokenizer or load_tokenizer(name, trust_remote_code=trusted)
        # Half precision is slow on a CPU, and less exact.
        model: Any = load_model(name, trust_remote_code=trusted, dtype="auto" if on_gpu else torch.float32)
        self.model = model.to("cuda" if on_gpu else "cpu").eval()
        identity = {
            "weights": getattr(model.config, "_commit_hash", None),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": self.model.device.type,
        }
        super().__init__(backend, tokenizer, end_ids=model.generation_config.eos_token_id, identity=identity)

    def check_length(self, tokens: int, what: str, advice: str) -> None:
        """Check the positions; see `InProcess.check_length`."""
        check_positions(self.model, tokens, what, advice)

    def new_tokens(self, tokens: list[list[int]], requests: list[Request], stops: list[int]) -> list[list[int]]:
        """Generate; see `InProcess.new_tokens`."""
        import torch

        with torch.inference_mode():
            output = generate(
                self.model,
                torch.tensor(tokens, device=self.model.device),
                max_new_tokens=requests[0].max_new_tokens,
                eos_ids=stops,
                pad_id=min(stops, default=0),
                processors=[_Draw(requests)],
            )
        rows: list[list[int]] = output.tolist()
        return rows

    def token_log_probabilities(self, tokens: list[list[int]]) -> FloatArray:
        """Compute log-probabilities; see `InProcess.token_log_probabilities`."""
        import torch

        ids = torch.tensor(tokens, device=self.model.device)
        with torch.inference_mode():
            logits = self.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            each = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0].double().cpu().numpy()
        return np.asarray(each)


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
