"""Evaluation by several processes: each process completes a share of the prompts and receives all completions."""

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
    """Close the process group, if one is open.

    Call this function after the trainer has been deleted: destroying a gloo group while a model is still wrapped hangs.
    """
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


class Shared:
    """A completer that divides the prompts among all processes and returns all completions to each process.

    Args:
        completer: The completer, which must be the same in every process.
        accelerator: The accelerator, which knows the processes.
    """

    def __init__(self, completer: Completer, accelerator: Accelerator) -> None:
        self.completer = completer
        self.process, self.processes = accelerator.process_index, accelerator.num_processes

    def complete(
        self, prompts: PromptSet, *, max_new_symbols: int, samples: int | None = None, seed: int = 0
    ) -> Completions:
        """Complete the prompts; see `Completer.complete`. Greedy completions do not depend on the process count."""
        if self.processes == 1:
            return self.completer.complete(prompts, max_new_symbols=max_new_symbols, samples=samples, seed=seed)
        from accelerate.utils import gather_object

        rows = np.arange(len(prompts))
        mine = rows[self.process :: self.processes]
        parts: list[tuple[WordBatch, np.ndarray]] = []
        if len(mine):
            completions = self.completer.complete(
                prompts.take(mine), max_new_symbols=max_new_symbols, samples=samples, seed=seed + self.process
            )
            parts = [(completions.words, completions.finished)]
        gathered = gather_object(parts)
        each = samples or 1
        order = np.concatenate([rows[i :: self.processes] for i in range(self.processes)])
        places = (order[:, None] * each + np.arange(each)).ravel().argsort()
        words = concatenate([words for words, _ in gathered]).take(places)
        return Completions(words, np.concatenate([finished for _, finished in gathered])[places])
