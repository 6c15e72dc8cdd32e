"""The properties of every architecture in every size. The tests include each new preset automatically."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    DynamicCache,
    PreTrainedModel,
    StaticCache,
    TokenizersBackend,
    pipeline,
)

from hf_ruleextrap.architectures import build_model, get_preset, list_architectures
from hf_ruleextrap.models import RecurrentCache

PAD, BOS, EOS = 0, 1, 2
EVERY = [(name, size) for name in list_architectures() for size in get_preset(name).sizes]
OWN = [name for name in list_architectures() if get_preset(name).model_type.startswith("ruleextrap_")]
POSITIONS = ["none", "sinusoidal", "learned", "rotary", "alibi"]
# The Transformer with each kind of positions, and with norms after the sums.
VARIANTS = [("transformer", "mini", {"positions": p, "norm_placement": "post"}) for p in POSITIONS]
CASES = [(name, size, {}) for name, size in EVERY] + VARIANTS
CLOSE = {"atol": 1e-5, "rtol": 1e-4}
COUNTS = {
    ("linear", "paper"): [3303785, 3964542, 4625299],
    ("mamba", "paper"): [102368] * 3,
    ("xlstm", "paper"): [185000, 185128, 185256],
    ("lstm", "paper"): [152951, 153026, 153101],
    ("transformer", "paper"): [154063, 154084, 154105],
}


def label(case: tuple) -> str:
    return "-".join(str(part) for part in (*case[:2], *(case[2].values() if len(case) > 2 else ())))


@pytest.fixture(scope="module", params=CASES, ids=label)
def model(request) -> PreTrainedModel:
    name, size, overrides = request.param
    return build_model(name, vocab_size=6, size=size, seed=0, **overrides).eval()


@pytest.fixture(scope="module", params=[case for case in CASES if case[0] in OWN], ids=label)
def own(request) -> PreTrainedModel:
    """A model of this package, which has more properties than the models of transformers."""
    name, size, overrides = request.param
    return build_model(name, vocab_size=6, size=size, seed=0, **overrides).eval()


@pytest.fixture(params=EVERY, ids=label)
def fresh(request) -> PreTrainedModel:
    """A model that a test may change."""
    name, size = request.param
    return build_model(name, vocab_size=6, size=size, seed=0)


def tokens(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Return (rows, columns) random symbols, of which BOS is the first in each row."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 6, (rows, columns), generator=generator)
    ids[:, 0] = BOS
    return ids


def left_padded(columns: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of ``columns``, ``columns`` - 4 and 1 tokens with their mask."""
    ids, mask = tokens(3, columns), torch.ones(3, columns, dtype=torch.long)
    for row, pads in enumerate([0, 4, columns - 1]):
        ids[row, :pads], mask[row, :pads], ids[row, pads] = PAD, 0, BOS
    return ids, mask


@torch.no_grad()
def logits(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return model(ids, attention_mask=mask).logits


def generate(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor | None = None, **options) -> torch.Tensor:
    mask = torch.ones_like(ids) if mask is None else mask
    return model.generate(ids, attention_mask=mask, max_new_tokens=8, min_new_tokens=8, **options)


def test_future_tokens_do_not_change_past_logits(model):
    ids = tokens(2, 12)
    other = ids.clone()
    other[:, 7:] = tokens(2, 5, seed=1)
    assert not ids.equal(other)
    torch.testing.assert_close(logits(model, ids)[:, :7], logits(model, other)[:, :7], **CLOSE)
    assert not torch.allclose(logits(model, ids)[:, 8:], logits(model, other)[:, 8:])


def test_the_logits_of_a_row_do_not_depend_on_other_rows(model):
    ids = tokens(4, 11)
    alone = torch.cat([logits(model, row[None]) for row in ids])
    torch.testing.assert_close(logits(model, ids), alone, **CLOSE)


@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_does_not_change_logits(model, side):
    check_padding(model, {"left": range(4, 10), "right": range(6), "both": range(2, 8)}[side])


def test_padding_in_the_middle_does_not_change_logits(own):
    check_padding(own, [0, 1, 2, 7, 8, 9])


def check_padding(model: PreTrainedModel, places: Sequence[int]) -> None:
    short = tokens(1, 6)
    ids, mask = tokens(2, 10), torch.ones(2, 10, dtype=torch.long)
    ids[1], mask[1] = PAD, 0
    ids[1, list(places)], mask[1, list(places)] = short[0], 1
    batch = logits(model, ids, mask)
    torch.testing.assert_close(batch[1, list(places)], logits(model, short)[0], **CLOSE)
    torch.testing.assert_close(batch[:1], logits(model, ids[:1]), **CLOSE)
    assert batch.isfinite().all()


@torch.no_grad()
def test_half_precision_runs(fresh):
    ids, mask = left_padded()
    assert fresh.eval().bfloat16()(ids, attention_mask=mask).logits.isfinite().all()
    assert generate(fresh, ids, mask, do_sample=False).shape == (3, 17)


def test_a_row_of_padding_has_finite_logits(model):
    ids, mask = tokens(2, 5), torch.ones(2, 5, dtype=torch.long)
    ids[1], mask[1] = PAD, 0
    batch = logits(model, ids, mask)
    assert batch.isfinite().all()
    torch.testing.assert_close(batch[:1], logits(model, ids[:1]), **CLOSE)


def test_the_token_at_a_masked_position_has_no_effect(model):
    ids, mask = left_padded()
    other = torch.where(mask.bool(), ids, 4)
    real = mask.bool()
    torch.testing.assert_close(logits(model, ids, mask)[real], logits(model, other, mask)[real], **CLOSE)


def test_left_padding_does_not_change_completions(model):
    ids, mask = left_padded()
    batch = generate(model, ids, mask, do_sample=False)[:, ids.shape[1] :]
    for row, real, out in zip(ids, mask.bool(), batch, strict=True):
        alone = generate(model, row[real][None], do_sample=False)
        assert out.tolist() == alone[0, real.sum() :].tolist()


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_cached_steps_equal_the_full_forward_pass(own, padded):
    ids, mask = left_padded() if padded else (tokens(3, 9), torch.ones(3, 9, dtype=torch.long))
    cache, steps, start = None, [], 0
    # The model reads a chunk, two single tokens, and a chunk with a cache.
    for end in [3, 4, 5, 9]:
        out = own(ids[:, start:end], attention_mask=mask[:, :end], past_key_values=cache, use_cache=True)
        cache, start = out.past_key_values, end
        steps.append(out.logits)
    assert cache.get_seq_length() == 9
    real = mask.bool()
    torch.testing.assert_close(torch.cat(steps, dim=1)[real], logits(own, ids, mask)[real], **CLOSE)


@torch.no_grad()
def test_a_cache_continues_without_an_attention_mask(own):
    ids = tokens(2, 9)
    cache = own(ids[:, :4], use_cache=True).past_key_values
    rest = own(ids[:, 4:], past_key_values=cache).logits
    torch.testing.assert_close(rest, logits(own, ids)[:, 4:], **CLOSE)


@torch.no_grad()
def test_a_cache_is_updated_even_if_use_cache_is_false(own):
    ids = tokens(2, 9)
    cache = own(ids[:, :4], use_cache=True).past_key_values
    out = own(ids[:, 4:6], past_key_values=cache, use_cache=False)
    assert out.past_key_values is None
    assert cache.get_seq_length() == 6


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": True, "temperature": 1.5, "top_k": 0},
        {"do_sample": True, "num_return_sequences": 3, "top_k": 0},
        {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "num_beams": 3, "top_k": 0},
    ],
    ids=["greedy", "sampling", "several", "beams", "beam-sampling"],
)
def test_generate_with_and_without_cache_agree(model, options):
    ids, mask = left_padded()
    results = []
    for use_cache in (True, False):
        torch.manual_seed(3)
        results.append(generate(model, ids, mask, use_cache=use_cache, **options).tolist())
    assert results[0] == results[1]


@torch.no_grad()
def test_the_rows_of_a_cache_can_be_repeated_selected_and_reordered(own):
    ids = tokens(3, 6)
    cache = own(ids, use_cache=True).past_key_values
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([5, 0, 2, 3]))
    cache.reorder_cache(torch.tensor([3, 1, 1, 0]))
    step = torch.full((4, 1), 4)
    out = own(step, past_key_values=cache).logits
    full = torch.cat([ids[[1, 0, 0, 2]], step], dim=1)
    torch.testing.assert_close(out[:, -1], logits(own, full)[:, -1], **CLOSE)
    assert cache.get_max_length() == -1
    assert not cache.is_compileable


def test_logits_to_keep_are_the_last_ones(model):
    ids = tokens(2, 8)
    full = logits(model, ids)
    torch.testing.assert_close(model(ids, logits_to_keep=3).logits, full[:, -3:], **CLOSE)
    picked = model(ids, logits_to_keep=torch.tensor([1, 4])).logits
    torch.testing.assert_close(picked, full[:, [1, 4]], **CLOSE)


def test_the_loss_is_the_mean_next_token_cross_entropy_and_ignores_minus_100(model):
    ids = tokens(2, 8)
    labels = ids.clone()
    labels[0, 3:] = -100
    out = model(ids, labels=labels)
    chosen = torch.log_softmax(out.logits[:, :-1], dim=-1).gather(2, ids[:, 1:, None])[..., 0]
    counted = labels[:, 1:] != -100
    torch.testing.assert_close(out.loss, -chosen[counted].mean())
    summed = model(ids, labels=labels, num_items_in_batch=torch.tensor(18)).loss
    torch.testing.assert_close(summed, -chosen[counted].sum() / 18)


def test_a_tuple_is_returned_on_request(own):
    ids = tokens(1, 4)
    loss, scores = own(ids, labels=ids, use_cache=False, return_dict=False)
    assert scores.shape == (1, 4, 6)
    assert loss.ndim == 0


def test_embeddings_can_be_given_instead_of_ids(model):
    ids = tokens(2, 7)
    embeds = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=embeds).logits, logits(model, ids), **CLOSE)
    with pytest.raises(ValueError, match="exactly one"):
        model(ids, inputs_embeds=embeds)


def test_a_mask_of_another_width_is_refused(own):
    with pytest.raises(ValueError, match=r"attention_mask has shape \(2, 3\): give \(2, 5\)"):
        own(tokens(2, 5), attention_mask=torch.ones(2, 3))


def test_a_prompt_without_tokens_is_refused(own):
    with pytest.raises(ValueError, match="no tokens"):
        own(torch.empty(1, 0, dtype=torch.long))


def test_every_parameter_gets_a_finite_gradient(fresh):
    fresh.train()
    ids = tokens(8, 16)
    ids[:, -1], ids[0, 0] = EOS, PAD
    fresh(ids, labels=ids).loss.backward()
    for name, parameter in fresh.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_and_unpadded_gradients_are_equal(fresh, side):
    fresh.eval()
    short, places = tokens(1, 5), slice(4, 9) if side == "left" else slice(0, 5)
    ids, mask = torch.full((1, 9), PAD), torch.zeros(1, 9, dtype=torch.long)
    ids[:, places], mask[:, places] = short, 1
    # The label of BOS would be predicted from a pad.
    labels = ids.masked_fill(mask * mask.cumsum(dim=1) <= 1, -100)
    expected = gradients(fresh, fresh(short, labels=short).loss)
    padded = gradients(fresh, fresh(ids, attention_mask=mask, labels=labels, use_cache=False).loss)
    for name, gradient in padded.items():
        torch.testing.assert_close(gradient, expected[name], **CLOSE, msg=name)


@pytest.mark.parametrize("side", ["left", "right"])
def test_gradients_through_a_cache_after_padding_are_those_without_padding(own, side):
    """Rows of 5, 3 and 1 tokens, each followed by two more tokens, have the same gradients as the rows alone."""
    ids, mask = tokens(3, 5), torch.ones(3, 5, dtype=torch.long)
    following, expected = tokens(3, 2, seed=1), dict[str, torch.Tensor]()
    for row, length in enumerate([5, 3, 1]):
        real = slice(5 - length, 5) if side == "left" else slice(0, length)
        mask[row], mask[row, real] = 0, 1
        cache = own(ids[row : row + 1, real], use_cache=True).past_key_values
        alone = own(following[row : row + 1], past_key_values=cache, use_cache=True)
        for name, gradient in gradients(own, alone.logits[..., 3].sum()).items():
            expected[name] = expected.get(name, 0) + gradient
    cache = own(ids, attention_mask=mask, use_cache=True).past_key_values
    both = torch.cat([mask, torch.ones(3, 2, dtype=torch.long)], dim=1)
    together = own(following, attention_mask=both, past_key_values=cache, use_cache=True)
    for name, gradient in gradients(own, together.logits[..., 3].sum()).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4, msg=name)


def gradients(model: PreTrainedModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the gradient of each parameter, which is zero for a parameter without effect on the loss."""
    model.zero_grad()
    loss.backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
    }


def test_a_saved_model_loads_with_equal_weights(fresh, tmp_path: Path):
    fresh.eval().save_pretrained(tmp_path)
    assert not [*tmp_path.glob("*.bin"), *tmp_path.glob("*.pt"), *tmp_path.glob("*.pth")]
    assert (tmp_path / "model.safetensors").is_file()
    ids = tokens(2, 9)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is type(fresh)
    assert logits(loaded, ids).equal(logits(fresh, ids))
    assert loaded.generation_config.eos_token_id == EOS
    backbone, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert type(backbone) is type(fresh.base_model)
    assert backbone(ids).last_hidden_state.equal(fresh.base_model(ids).last_hidden_state)


def test_missing_weights_are_initialized_and_the_others_kept(fresh, tmp_path: Path):
    fresh.base_model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, parameter in fresh.base_model.named_parameters():
        assert parameter.equal(loaded.base_model.get_parameter(name)), name
    assert all(p.isfinite().all() for p in loaded.parameters())


def test_the_text_generation_pipeline_runs(model):
    vocab = {token: i for i, token in enumerate(["<pad>", "<bos>", "<eos>", "a", "b", "c"])}
    core = Tokenizer(models.WordLevel(vocab, unk_token=None))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", BOS)])
    core.decoder = decoders.Fuse()
    tokenizer = TokenizersBackend(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", padding_side="left"
    )
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
    outputs = pipe(["aab", "a"], max_new_tokens=5, do_sample=False, batch_size=2)
    alone = [pipe(prompt, max_new_tokens=5, do_sample=False) for prompt in ("aab", "a")]
    assert outputs == alone
    assert outputs[0][0]["generated_text"].startswith("aab")


@pytest.mark.parametrize(("name", "size"), COUNTS)
def test_parameter_counts_are_those_of_the_paper(name, size):
    counts = [build_model(name, vocab_size=v, size=size).num_parameters() for v in (5, 6, 7)]
    assert counts == COUNTS[name, size]


@pytest.mark.parametrize("name", OWN)
def test_a_cache_of_the_wrong_class_is_refused(name):
    model = build_model(name, vocab_size=6, seed=0)
    own_cache = model(tokens(1, 3), use_cache=True).past_key_values
    is_recurrent = isinstance(own_cache, RecurrentCache)
    wrong_cache = DynamicCache() if is_recurrent else StaticCache(model.config, max_cache_len=8)
    with pytest.raises(ValueError, match="past_key_values is a"):
        model(tokens(1, 3), past_key_values=wrong_cache)
