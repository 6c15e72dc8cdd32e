"""A text completer for vLLM in this process (``--backend vllm``)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal.words import FloatArray

from .base import BackendConfig, Request
from .in_process import InProcess
from .loading import check_config, end_tokens, load_tokenizer, may_run_code, naming_errors


class VllmCompleter(InProcess):
    """A text completer that generates with vLLM, and gives the model the same tokens as `HfCompleter` does."""

    backend_name = "vllm"

    def __init__(self, backend: BackendConfig) -> None:
        """Load a checkpoint: a folder, or a repository of the Hub.

        Raises:
            RuleExtrapError: If vLLM is not installed, if there is no such checkpoint, or if its tokenizer cannot encode
                the protocol's texts.
        """
        try:
            self._vllm: Any = importlib.import_module("vllm")
        except ImportError as error:
            raise RuleExtrapError(
                f"vLLM cannot be imported ({error}): pip install 'hf-ruleextrap[vllm]' in an environment of its own"
            ) from None
        name, trusted = backend.model, backend.trust_remote_code
        tokenizer = backend.tokenizer or load_tokenizer(name, trust_remote_code=trusted)
        end_ids = end_tokens(name)
        identity = {"vllm": self._vllm.__version__}
        super().__init__(backend, tokenizer, end_ids=end_ids, identity=identity)
        with naming_errors(name):
            check_config(name)
            # The checkpoint's own sampling settings have no effect, and a pickle is not loaded.
            self.engine = self._vllm.LLM(
                model=name,
                trust_remote_code=may_run_code(name, trust_remote_code=trusted),
                generation_config="vllm",
                load_format="safetensors",
            )

    def check_length(self, tokens: int, what: str, advice: str) -> None:
        """Check the length that vLLM allows; see `InProcess.check_length`."""
        limit = self.engine.llm_engine.model_config.max_model_len
        if tokens > limit:
            raise RuleExtrapError(f"{what} take {tokens} tokens, and vLLM allows {limit} for this model: {advice}")

    def new_tokens(self, tokens: list[list[int]], requests: list[Request], stops: list[int]) -> list[list[int]]:
        """Generate; see `InProcess.new_tokens`."""
        # The other parameters of vLLM are neutral by default.
        parameters = [
            self._vllm.SamplingParams(
                max_tokens=request.max_new_tokens,
                temperature=request.temperature,
                seed=request.seed,
                stop_token_ids=stops,
                detokenize=False,
            )
            for request in requests
        ]
        return [list(output.outputs[0].token_ids) for output in self._generate(tokens, parameters)]

    def token_log_probabilities(self, tokens: list[list[int]]) -> FloatArray:
        """Compute log-probabilities; see `InProcess.token_log_probabilities`."""
        # vLLM computes the log-probabilities of a prompt only if it also generates a token.
        parameters = [self._vllm.SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)]
        outputs = self._generate(tokens, parameters * len(tokens))
        return np.array(
            [
                [known[token].logprob for token, known in zip(row[1:], output.prompt_logprobs[1:], strict=True)]
                for row, output in zip(tokens, outputs, strict=True)
            ],
            dtype=np.float64,
        )

    def _generate(self, tokens: list[list[int]], parameters: list[Any]) -> list[Any]:
        prompts = [{"prompt_token_ids": row} for row in tokens]
        outputs: list[Any] = self.engine.generate(prompts, parameters, use_tqdm=False)
        return outputs
