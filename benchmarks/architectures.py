"""Measure a training step and greedy completion of each architecture at the paper's size against a peer.

    OMP_NUM_THREADS=2 python benchmarks/architectures.py

The step is forward, backward and AdamW in fp32 on the paper's batch of a^n b^n, which has 128 words of 2 to 256
symbols, padded to 258 tokens. The peers are ``nn.TransformerEncoder`` with boolean masks, the packages mambapy and
xlstm (backend vanilla), ``nn.LSTM``, and a three-way einsum for the linear model. The peers also compute the padding.
Both sides run in one process, in turn. The peer has one step of warm-up. Ours keeps freed memory as a run does, and has
two steps of warm-up in each pair, because that memory is returned before the peer's step.

The script needs the packages of the peers: ``pip install mambapy xlstm``.

The column "AdamW" is the time that this machine's memory needs for the traffic of AdamW: for each parameter, AdamW
reads the weight, the gradient and two moments, and writes all of these but the gradient. No step can take less time.

The second table compares greedy completion of all 256 prompts to 256 tokens with the model's state, and with a new
forward pass over the whole prefix for each token.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hf_ruleextrap import build_model, get_language
from hf_ruleextrap.evaluation.likelihood import token_rows
from hf_ruleextrap.formal import WordBatch
from hf_ruleextrap.tokenization import PAD_ID, encode
from hf_ruleextrap.train.batches import by_length, group_cells
from hf_ruleextrap.train.process import kept_memory

VOCAB, WIDTH = 5, 258


class TransformerPeer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(10, 5, 1024, 0.1, layer_norm_eps=6e-3, batch_first=True)
        self.embed, self.head = nn.Embedding(VOCAB, 10), nn.Linear(10, VOCAB)
        self.encoder = nn.TransformerEncoder(layer, 7, enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
        return self.head(self.encoder(self.embed(ids), mask=mask, src_key_padding_mask=ids == PAD_ID))


class MambaPeer(nn.Module):
    def __init__(self) -> None:
        from mambapy.mamba import Mamba, MambaConfig

        super().__init__()
        self.embed = nn.Embedding(8, 32)
        self.mamba = Mamba(MambaConfig(d_model=32, n_layers=10, d_state=16, d_conv=8, expand_factor=2))

    def forward(self, ids: Tensor) -> Tensor:
        return self.mamba(self.embed(ids)) @ self.embed.weight.T


def xlstm_peer() -> nn.Module:
    import xlstm

    return xlstm.xLSTMLMModel(
        xlstm.xLSTMLMModelConfig(
            vocab_size=VOCAB,
            embedding_dim=64,
            num_blocks=6,
            context_length=WIDTH,
            slstm_at=[1],
            mlstm_block=xlstm.mLSTMBlockConfig(
                mlstm=xlstm.mLSTMLayerConfig(conv1d_kernel_size=4, qkv_proj_blocksize=4, num_heads=4)
            ),
            slstm_block=xlstm.sLSTMBlockConfig(
                slstm=xlstm.sLSTMLayerConfig(backend="vanilla", num_heads=4, conv1d_kernel_size=4),
                feedforward=xlstm.FeedForwardConfig(proj_factor=1.3, act_fn="gelu"),
            ),
        )
    )


class LSTMPeer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCAB, 10), nn.Linear(64, VOCAB)
        self.lstm, self.dropout = nn.LSTM(10, 64, 5, batch_first=True), nn.Dropout(0.4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.dropout(self.lstm(self.embed(ids))[0]))


class LinearPeer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 10)
        self.weight = nn.Parameter(torch.randn(WIDTH - 1, 10, WIDTH - 1, VOCAB) * 0.01)
        self.bias = nn.Parameter(torch.zeros(WIDTH - 1, VOCAB))
        self.mask = torch.ones(WIDTH - 1, WIDTH - 1).triu()

    def forward(self, ids: Tensor) -> Tensor:
        return torch.einsum("bsw,swtv,st->btv", self.embed(ids), self.weight, self.mask) + self.bias


PEERS: dict[str, Callable[[], nn.Module]] = {
    "transformer": TransformerPeer,
    "mamba": MambaPeer,
    "xlstm": xlstm_peer,
    "lstm": LSTMPeer,
    "linear": LinearPeer,
}


def peer_step(model: nn.Module, rows: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        logits = model(rows[:, :-1])
        cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).backward()
        optimizer.step()

    return step


def our_step(name: str, rows: Tensor) -> Callable[[], None]:
    model = build_model(name, vocab_size=VOCAB, size="paper", seed=0)
    optimizer = torch.optim.AdamW(model.parameters())
    # The last token is a target only; a linear model has no position for it as an input.
    batch = {"input_ids": rows, "labels": rows.masked_fill(rows == PAD_ID, -100)}
    count = (batch["labels"][:, 1:] != -100).sum()

    def step() -> None:
        optimizer.zero_grad()
        for part in by_length(batch, rows.shape[1], group_cells(name)):
            ids, labels = part["input_ids"][:, :-1], part["labels"][:, 1:]
            logits = model(ids, use_cache=False).logits
            (cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / count).backward()
        optimizer.step()

    return step


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def seconds_in_a_run(work: Callable[[], object]) -> float:
    """Return the seconds of a step as in a run, which keeps the memory that the steps before have freed."""
    with kept_memory():
        work()
        work()
        return seconds(work)


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of several runs, after one run of warm-up."""
    work()
    return statistics.median(seconds(work) for _ in range(repeats))


def bandwidth() -> float:
    """Return the bytes per second that this machine reads and writes in a copy from memory to memory."""
    source = torch.ones(1 << 26)
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source), 5)


def completion(name: str, prompts: Tensor, symbols: int, repeats: int) -> tuple[float, float]:
    """Return the seconds to complete the prompts with the model's state and with a new forward pass for each token.

    The second time does not include the overhead of `generate`. The forward pass is measured at nine lengths, and the
    time between two lengths is interpolated linearly (the trapezoid rule).
    """
    positions = {"max_position_embeddings": prompts.shape[1] + symbols} if name == "linear" else {}
    model = build_model(name, vocab_size=VOCAB, size="paper", seed=0, **positions).eval()
    mask = torch.ones_like(prompts)
    # The id of the end is not in the vocabulary: generation looks for the id, and every completion reaches the limit.
    limits = {"max_new_tokens": symbols, "eos_token_id": VOCAB, "pad_token_id": PAD_ID}
    with torch.inference_mode():

        def complete() -> Tensor:
            return model.generate(prompts, attention_mask=mask, do_sample=False, use_cache=True, **limits)

        words = complete()
        lengths = np.linspace(prompts.shape[1], words.shape[1] - 1, 9).round().astype(int)

        def forward_seconds(length: int) -> float:
            return median_seconds(lambda: model(words[:, :length], use_cache=False), repeats)

        cached, steps = median_seconds(complete, repeats), np.array([forward_seconds(length) for length in lengths])
    between = np.diff(lengths)
    return cached, float((steps[:-1] + steps[1:]) @ between / 2 / between.sum() * symbols)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=PEERS, nargs="*", default=list(PEERS))
    parser.add_argument("--skip", choices=("steps", "completion"))
    arguments = parser.parse_args()
    if arguments.skip != "steps":
        compare_steps(arguments.only, arguments.repeats)
    if arguments.skip != "completion":
        compare_completion(arguments.only, arguments.repeats)


def compare_steps(names: list[str], repeats: int) -> None:
    anbn = get_language("anbn")
    rows = torch.from_numpy(token_rows(WordBatch.from_strings(list(anbn.words(256))), anbn))
    speed = bandwidth()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, memory {speed / 1e9:.1f} GB/s; "
        f"a training step, {tuple(rows.shape)} tokens"
    )
    print(f"{'':12} {'ours [s]':>9} {'peer [s]':>9} {'ratio':>6} {'AdamW [s]':>10}")
    for name in names:
        ours, theirs = our_step(name, rows), peer_step(PEERS[name](), rows)
        theirs()
        pairs = [(seconds_in_a_run(ours), seconds(theirs)) for _ in range(repeats)]
        mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
        least = 28 * build_model(name, vocab_size=VOCAB, size="paper").num_parameters() / speed
        print(f"{name:12} {mine:9.3f} {other:9.3f} {other / mine:6.1f} {least:10.4f}", flush=True)


def compare_completion(names: list[str], repeats: int) -> None:
    anbn = get_language("anbn")
    prompts = anbn.prompts().words
    ids = torch.from_numpy(np.column_stack([np.ones(len(prompts), np.int64), encode(prompts, anbn)]))
    print(f"greedy completion of {len(ids)} prompts to 256 tokens, {torch.get_num_threads()} threads")
    print(f"{'':12} {'state [s]':>9} {'anew [s]':>9} {'ratio':>6}")
    for name in names:
        cached, plain = completion(name, ids, 256 - ids.shape[1], repeats)
        print(f"{name:12} {cached:9.3f} {plain:9.2f} {plain / cached:6.1f}", flush=True)


if __name__ == "__main__":
    main()
