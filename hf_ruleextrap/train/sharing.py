"""An evaluation by several processes: each does its share of the rows, and all get the whole."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import numpy as np

from hf_ruleextrap.completers import Completer, Completions
from hf_ruleextrap.formal import PromptSet, WordBatch
from hf_ruleextrap.formal.words import concatenate

if TYPE_CHECKING:
    from accelerate import Accelerator


def leave() -> None:
    """Close the process group, where there is one.

    Nothing may still be wrapped for it: gloo's threads, joined while a model is, hang. So call this once the trainer
    is gone.
    """
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


class Shared:
    """A completer that all processes run together; each completes its share of the prompts.

    Args:
        completer: the same in every process.
        accelerator: knows the processes.
    """

    def __init__(self, completer: Completer, accelerator: Accelerator) -> None:
        self.completer = completer
        self.process, self.processes = accelerator.process_index, accelerator.num_processes

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """See `Completer.complete`; a greedy completion is the same whatever the number of processes."""
        if self.processes == 1:
            return self.completer.complete(prompts, max_new_symbols=max_new_symbols, samples=samples, seed=seed)
        from accelerate.utils import gather_object

        rows = np.arange(len(prompts))
        mine = rows[self.process :: self.processes]
        parts: list[tuple[WordBatch, np.ndarray]] = []
        if len(mine):
            made = self.completer.complete(
                prompts.take(mine), max_new_symbols=max_new_symbols, samples=samples, seed=seed + self.process
            )
            parts = [(made.words, made.finished)]
        gathered = gather_object(parts)
        each = samples or 1
        order = np.concatenate([rows[i :: self.processes] for i in range(self.processes)])
        places = (order[:, None] * each + np.arange(each)).ravel().argsort()
        words = concatenate([words for words, _ in gathered]).take(places)
        return Completions(words, np.concatenate([finished for _, finished in gathered])[places])
