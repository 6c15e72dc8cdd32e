"""A small language model of text, which has been trained for a few steps on lines of a^n b^n."""

from __future__ import annotations

from pathlib import Path

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
