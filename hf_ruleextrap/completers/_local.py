"""Completers that continue a prompt symbol by symbol: a checkpoint with one token per symbol, a source, the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.formal import Language, PromptSet, Source, oracle
from hf_ruleextrap.formal.words import WordBatch, concatenate
from hf_ruleextrap.tokenization import BOS_ID, EOS_ID, PAD_ID, decode_completions, encode, symbol_ids

from .base import Completions
from .generation import check_positions, generate, most_tokens
from .loading import load_model, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS = 1024


class LocalModel:
    """A completer that continues prompts with a causal language model in this process, one token per symbol.

    A batch contains prompts of equal length and therefore no padding, so that a completion never depends on the other
    rows, whatever the architecture. Generation uses the model's cache.

    >>> from hf_ruleextrap import LocalModel, build_model, get_language
    >>> language = get_language("anbn")
    >>> completer = LocalModel(build_model("lstm", language=language, seed=0), language)
    >>> completions = completer.complete(language.prompts("ood", length=3), max_new_symbols=4)
    >>> len(completions.words), completions.finished.shape
    (6, (6,))
    """

    def __init__(
        self,
        model: PreTrainedModel,
        language: Language,
        *,
        ids: npt.NDArray[np.int64] | None = None,
        bos_id: int = BOS_ID,
        eos_id: int = EOS_ID,
    ) -> None:
        """Wrap a model.

        Args:
            model: A causal language model.
            language: The language of the prompts.
            ids: (k,) the token id of each symbol; the default are the ids of `tokenization.vocabulary`.
            bos_id: The token at the start of each prompt.
            eos_id: The token that ends a completion.
        """
        self.model = model
        self.language = language
        self.ids = np.arange(len(language.alphabet)) + 3 if ids is None else ids
        self.bos_id, self.eos_id = bos_id, eos_id

    @property
    def default_limit(self) -> int:
        """The largest number of symbols in a completion according to the checkpoint's generation config; else 256.

        Raises:
            RuleExtrapError: If ``max_new_tokens`` of the config is not a number of tokens.
        """
        settings = self.model.generation_config
        tokens = None if settings is None else settings.max_new_tokens
        if tokens is None:
            return 256
        if not isinstance(tokens, int) or tokens < 1:
            raise RuleExtrapError(f"max_new_tokens of the generation config is {tokens}: give 1 or more")
        return tokens - 1

    @property
    def most_tokens(self) -> int | None:
        """The largest number of tokens, including BOS, that the model can read; None if the model has no limit."""
        return most_tokens(self.model)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, language: Language, *, trust_remote_code: bool = False, tokenizer: Any = None
    ) -> LocalModel:
        """Load a checkpoint.

        Args:
            path: A folder, or the name of a repository on the Hub.
            language: The language of the prompts.
            trust_remote_code: Whether to run the code that a checkpoint of another architecture contains.
            tokenizer: The tokenizer of the checkpoint, if it is already loaded.

        Raises:
            RuleExtrapError: If there is no such checkpoint, or if its tokenizer does not fit the language.
        """
        tokenizer = tokenizer or load_tokenizer(str(path), trust_remote_code=trust_remote_code)
        model = load_model(str(path), trust_remote_code=trust_remote_code)
        ids = symbol_ids(tokenizer, language)
        return cls(model, language, ids=ids, bos_id=tokenizer.bos_token_id, eos_id=tokenizer.eos_token_id)

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Complete the prompts; see `Completer.complete`.

        Raises:
            RuleExtrapError: If the model has too few positions for the longest prompt and its completion.
        """
        longest = int(prompts.words.lengths.max(initial=0))
        check_positions(
            self.model,
            1 + longest + max_new_symbols,
            f"prompts of up to {longest} symbols with up to {max_new_symbols} new symbols",
            "allow fewer new symbols, or use a model with more positions",
        )
        rows = np.arange(len(prompts)).repeat(samples or 1)
        words = prompts.words.take(rows)
        pieces: list[WordBatch] = []
        finished = np.zeros(len(rows), np.bool_)
        order: list[npt.NDArray[np.int64]] = []
        groups = words.lengths
        if getattr(self.model.config, "mixes_rows", False):
            # The authors' code completes ID and OOD prompts apart, and the place of a row in its batch matters here.
            groups = 2 * groups + prompts.ood[rows]
        for group in np.unique(groups):
            equal_rows = np.flatnonzero(groups == group)
            for first in range(0, len(equal_rows), _ROWS):
                part = equal_rows[first : first + _ROWS]
                tokens = self._generate(words.take(part), max_new_symbols, samples is not None, seed + first)
                completed, finished[part] = decode_completions(tokens, self.language, ids=self.ids, eos_id=self.eos_id)
                # The last token of an unfinished row stands in the place of EOS and is not part of the completion.
                lengths = np.minimum(completed.lengths, max_new_symbols)
                pieces.append(WordBatch.from_codes(completed.codes, lengths))
                order.append(part)
        places = np.concatenate(order).argsort()
        return Completions(concatenate(pieces).take(places), finished)

    def _generate(self, words: WordBatch, max_new_symbols: int, sample: bool, seed: int) -> npt.NDArray[np.int64]:
        import torch

        tokens = encode(words, self.language, self.ids)
        tokens = np.column_stack([np.full(len(words), self.bos_id), tokens])
        inputs = torch.from_numpy(tokens).to(self.model.device)
        was_training = self.model.training
        self.model.eval()
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            output = generate(
                self.model,
                inputs,
                max_new_tokens=max_new_symbols + 1,
                eos_ids=[self.eos_id],
                pad_id=PAD_ID,
                sample=sample,
            )
        self.model.train(was_training)
        return np.asarray(output.cpu().numpy())


class FromSource:
    """A completer for a source. Greedy completions take the source's most likely symbols; samples are drawn from it."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Complete the prompts; see `Completer.complete`."""
        rows = np.arange(len(prompts)).repeat(samples or 1)
        rng = None if samples is None else np.random.default_rng(seed)
        words, finished = self.source.complete(prompts.words.take(rows), max_new_symbols=max_new_symbols, rng=rng)
        return Completions(words, finished)


class Oracle:
    """A completer that adds the fewest symbols after which every rule that can still hold does hold."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Complete the prompts; see `Completer.complete`. All samples of a prompt are equal."""
        del seed
        rows = np.arange(len(prompts)).repeat(samples or 1)
        words, finished = oracle(self.language, prompts, max_new_symbols=max_new_symbols)
        return Completions(words.take(rows), finished[rows])
