"""Architectures by name: a preset of this package, or any causal LM that transformers implements."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .errors import RuleExtrapError, unknown

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from .formal.language import Language

_PRESETS = Path(__file__).parent / "presets"
# The tokenizer's: ids 0, 1, 2 in every language, then the alphabet.
_SPECIAL_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_GIVEN = ("vocab_size", *_SPECIAL_IDS)
_KINDS: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "str": str,
    "None": type(None),
}
# Fields of which transformers accepts a value that makes no model; an alias counts as the field that it stands for.
_AT_LEAST_1 = {
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "num_heads",
    "head_dim",
    "max_position_embeddings",
    "state_size",
    "conv_kernel",
    "expand",
    "n_groups",
    "chunk_size",
    "time_step_rank",
}
_FOREIGN_HINT = "A causal model type of transformers works too, with its sizes as overrides"


@dataclass(frozen=True)
class Preset:
    """A named architecture.

    Attributes:
        name: what `build_model` calls it, e.g. ``"lstm"``.
        model_type: what transformers calls it.
        summary: one sentence.
        sizes: for each size ("paper", "mini") the fields of its configuration; and ``vocab_multiple``, where the
            vocabulary is rounded up, and ``torch_init``, the modules whose weights start as torch starts them.
        released: fields of the configuration that follow what the authors' released code does where it differs from
            what the paper describes; a recipe with ``paper: true`` and ``size: paper`` sets them.
        fit: how a budget of parameters is met: the field under ``width`` grows by steps, what stands under ``with`` in
            proportion, and then the field under ``fine``.
    """

    name: str
    model_type: str
    summary: str
    sizes: Mapping[str, Mapping[str, Any]]
    fit: Mapping[str, Mapping[str, float]]
    released: Mapping[str, Any] = field(default_factory=dict)


def list_architectures() -> list[str]:
    """Return the names of the presets, sorted.

    >>> "lstm" in list_architectures()
    True
    """
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


@cache
def get_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        RuleExtrapError: there is none of this name; the message gives the nearest ones.

    >>> sorted(get_preset("lstm").sizes)
    ['mini', 'paper']
    """
    if name not in list_architectures():
        raise unknown("architecture", name, list_architectures())
    fields = yaml.safe_load((_PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    return Preset(name=name, **fields)


def model_type_of(name: str) -> str:
    """What transformers calls an architecture.

    Raises:
        RuleExtrapError: an unknown name.

    >>> model_type_of("lstm"), model_type_of("gpt2")
    ('ruleextrap_lstm', 'gpt2')
    """
    model_type = get_preset(name).model_type if name in list_architectures() else name
    _config_class(model_type)
    return model_type


def architecture_config(
    name: str,
    *,
    size: str = "mini",
    vocab_size: int,
    overrides: Mapping[str, Any] | None = None,
) -> PreTrainedConfig:
    """The configuration of an architecture, with the tokenizer's special ids (pad 0, bos 1, eos 2).

    Args:
        name: one of `list_architectures`, or a model type of transformers such as ``"gpt2"``.
        size: which sizes of the preset, ``"paper"`` or ``"mini"``; a model type of transformers has none.
        vocab_size: number of tokens, the three special ones included.
        overrides: fields of the configuration that differ.

    Raises:
        RuleExtrapError: an unknown name, size or field, or a value from which no model can be built.
    """
    config_class, fields = _resolve(name, size)
    overrides = dict(overrides or {})
    _check_overrides(name, config_class, overrides)
    if not _is(vocab_size, int) or vocab_size <= max(_SPECIAL_IDS.values()):
        raise RuleExtrapError(f"vocab_size is {vocab_size!r}: give 3 for the special tokens plus the alphabet's size")
    multiple = fields.pop("vocab_multiple", 1)
    fields.pop("torch_init", None)
    vocab_size = -(-vocab_size // multiple) * multiple
    with _one_line(name, overrides):
        return config_class(**{**fields, **overrides, **_SPECIAL_IDS, "vocab_size": vocab_size})


def build_model(
    name: str,
    *,
    language: str | Language | None = None,
    vocab_size: int | None = None,
    size: str = "mini",
    seed: int | None = None,
    parameters: int | None = None,
    **overrides: Any,
) -> PreTrainedModel:
    """Build a new causal LM for a language, on the CPU and in training mode.

    Args:
        name: one of `list_architectures`, or a model type of transformers such as ``"gpt2"``.
        language: name or object; the vocabulary is its alphabet and the three special tokens.
        vocab_size: number of tokens, instead of a language.
        size: which sizes of the preset, ``"paper"`` or ``"mini"``; a model type of transformers has none.
        seed: of the weights; the global random state stays as it was. Without one, the weights are drawn from
            the global random state.
        parameters: about so many parameters, met by the width (see `fit_parameters`).
        **overrides: fields of the configuration that differ, e.g. ``num_hidden_layers=2``.

    Returns:
        A model with ``forward`` and ``generate`` of transformers. The sizes "paper" are those of Mészáros et al.,
        NeurIPS 2024, arXiv 2409.13728.

    Raises:
        RuleExtrapError: an unknown name, size, language or field; a value from which no model can be built; or a model
            type that looks ahead, although transformers calls it causal.

    >>> from hf_ruleextrap import build_model
    >>> model = build_model("lstm", language="anbn", seed=0)
    >>> type(model).__name__, model.config.vocab_size
    ('RuleLSTMForCausalLM', 5)
    >>> type(build_model("gpt2", language="anbn", n_embd=16, n_layer=1, n_head=2)).__name__
    'GPT2LMHeadModel'
    """
    if (language is None) == (vocab_size is None):
        raise RuleExtrapError("give exactly one of language and vocab_size")
    if seed is not None and (not _is(seed, int) or not 0 <= seed < 2**63):
        raise RuleExtrapError(f"seed is {seed!r}: give an integer of at least 0, or None")
    if language is not None:
        from hf_ruleextrap.languages import get_language

        vocab_size = len(_SPECIAL_IDS) + len(get_language(language).alphabet)
    assert vocab_size is not None
    if parameters is not None:
        overrides |= fit_parameters(name, parameters, size=size, vocab_size=vocab_size, overrides=overrides)
    config = architecture_config(name, size=size, vocab_size=vocab_size, overrides=overrides)
    with _one_line(name, overrides):
        # Whatever is wrong is found before anything is allocated.
        _check_memory(count_parameters(config))

    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            # torch.manual_seed would also seed the accelerators, which are not forked.
            torch.default_generator.manual_seed(seed)
        with _one_line(name, overrides):
            model = AutoModelForCausalLM.from_config(config)
        _, fields = _resolve(name, size)
        for path, module in model.named_modules():
            if path.rpartition(".")[2] in fields.get("torch_init", ()):
                module.reset_parameters()
    if name not in list_architectures():
        from .causality import check_causal

        with _one_line(name, overrides):
            check_causal(model, f"architecture {name!r}")
    return model


def fit_parameters(
    name: str,
    parameters: int,
    *,
    size: str = "mini",
    vocab_size: int,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The fields with which an architecture has about so many parameters, within 5 %.

    Args:
        name: one of `list_architectures`.
        parameters: the budget.
        size: whose other fields are kept.
        vocab_size: as in `architecture_config`.
        overrides: as in `architecture_config`; not the fields that are to be found.

    Returns:
        The fields found; overrides for `build_model`.

    Raises:
        RuleExtrapError: a budget that is no number of parameters; a model type of transformers, whose widths are not
            known here; a field that is to be found and overridden; or no width comes near enough (the message gives
            the nearest).

    >>> fit_parameters("lstm", 20_000, vocab_size=5)
    {'hidden_size': 61, 'embedding_size': 17}
    """
    if not _is(parameters, int) or parameters < 1:
        raise RuleExtrapError(f"parameters is {parameters!r}: give an integer of at least 1")
    if name not in list_architectures():
        # A name that nobody knows is told so first.
        _config_class(name)
        raise RuleExtrapError(
            f"parameters works for presets only ({', '.join(list_architectures())}), and {name!r} is a model type of "
            "transformers: give its sizes as overrides instead"
        )
    preset = get_preset(name)
    (field, step), *_ = preset.fit["width"].items()
    scaled = preset.fit.get("with", {})
    given = dict(overrides or {})
    for key in given:
        if key in {field, *scaled, *preset.fit.get("fine", {})}:
            raise RuleExtrapError(f"parameters decides {key} of {name}: give one of the two")

    def count(found: Mapping[str, Any]) -> int:
        config = architecture_config(name, size=size, vocab_size=vocab_size, overrides={**given, **found})
        with _one_line(name, given):
            return count_parameters(config)

    def wide(steps: int) -> dict[str, Any]:
        width = steps * step
        return {field: width, **{other: int(factor * width) for other, factor in scaled.items()}}

    steps = max(1, _most(lambda steps: count(wide(steps)) <= parameters))
    coarse = wide(steps)
    candidates = [coarse, wide(steps + 1)]
    for other, grain in preset.fit.get("fine", {}).items():

        def fine(steps: int) -> dict[str, Any]:
            return {**coarse, other: type(grain)(round(steps * grain, 6))}  # noqa: B023  # used at once

        most = _most(lambda steps: count(fine(steps)) <= parameters)
        candidates += [fine(most), fine(most + 1)] if most else []
    found = min(candidates, key=lambda fields: abs(count(fields) - parameters))
    nearest = count(found)
    if abs(nearest - parameters) > 0.05 * parameters:
        raise RuleExtrapError(
            f"no {name} of size {size!r} has {parameters:,} parameters within 5 %: the nearest found has {nearest:,} "
            f"({', '.join(f'{key}={value}' for key, value in found.items())}); give another budget or size"
        )
    return found


def _most(fits: Callable[[int], bool]) -> int:
    """The largest number from 1 on that fits, where all smaller ones do; 0 where none does, and at most 2^20."""
    high = 1
    # A field may decide nothing, such as the feed-forward's width where no block has one.
    while high < 1 << 20 and fits(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def count_parameters(config: PreTrainedConfig) -> int:
    """How many parameters a configuration makes; nothing is allocated."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return int(AutoModelForCausalLM.from_config(config).num_parameters())


def _resolve(name: str, size: str) -> tuple[type[PreTrainedConfig], dict[str, Any]]:
    """The configuration class of an architecture and the fields that its size sets."""
    if name in list_architectures():
        preset = get_preset(name)
        if size not in preset.sizes:
            raise unknown(f"size of {name}", size, preset.sizes)
        return _config_class(preset.model_type), dict(preset.sizes[size])
    config_class = _config_class(name)
    # An encoder that transformers can also use as a causal LM looks ahead unless told that it decodes.
    return config_class, {"is_decoder": True} if "is_decoder" in _own_fields(config_class) else {}


def _config_class(model_type: str) -> type[PreTrainedConfig]:
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    # Importing it makes the Auto classes know our own.
    from . import models  # noqa: F401
    from .kernels import use_kernels

    use_kernels()

    if model_type not in CONFIG_MAPPING:
        near = difflib.get_close_matches(str(model_type), CONFIG_MAPPING.keys(), n=3)
        example = f"near: {', '.join(near)}" if near else "e.g. gpt2, llama"
        raise unknown("architecture", model_type, list_architectures(), f"{_FOREIGN_HINT}; {example}")
    config_class = CONFIG_MAPPING[model_type]
    if config_class not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise RuleExtrapError(
            f"architecture {model_type!r} is no causal LM in transformers: give another, such as "
            f"{', '.join(list_architectures())}, gpt2, llama"
        )
    return config_class


def _own_fields(config_class: type[PreTrainedConfig]) -> dict[str, str]:
    """For each field that this architecture has and others need not, its annotation; aliases included."""
    from transformers import PreTrainedConfig

    common = {*inspect.signature(PreTrainedConfig.__init__).parameters, *_GIVEN, "self", "args", "kwargs"}
    parameters = inspect.signature(config_class.__init__).parameters
    fields = {
        key: parameter.annotation.__name__ if isinstance(parameter.annotation, type) else str(parameter.annotation)
        for key, parameter in parameters.items()
        if key not in common
    }
    aliases = {alias: fields[key] for alias, key in config_class.attribute_map.items() if key in fields}
    return fields | aliases


def _check_overrides(name: str, config_class: type[PreTrainedConfig], overrides: Mapping[str, Any]) -> None:
    """Refuse a field that the configuration has not, and a value that is not of the field's type."""
    fields = _own_fields(config_class)
    for key, value in overrides.items():
        if key in _GIVEN:
            raise RuleExtrapError(
                f"{key} is not to be overridden: vocab_size or language decides the vocabulary, "
                "and the tokenizer the special ids (pad 0, bos 1, eos 2)"
            )
        if key not in fields:
            raise unknown(f"field of {name}", key, fields)
        kinds = fields[key].replace(" ", "").split("|")
        # An annotation of other types is left to the configuration.
        if all(kind in _KINDS for kind in kinds) and not any(_is(value, _KINDS[kind]) for kind in kinds):
            raise RuleExtrapError(
                f"{key} of {name} is {value!r}, of type {type(value).__name__}: give {' or '.join(kinds)}"
            )
        names = {key, *(alias for alias, own in config_class.attribute_map.items() if own == key)}
        if names & _AT_LEAST_1 and _is(value, int) and value < 1:
            raise RuleExtrapError(f"{key} of {name} is {value}: give an integer of at least 1")


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    """Whether a value is of a kind, a bool being no number."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _check_memory(parameters: int) -> None:
    """Raise ValueError for more parameters than this machine's memory can hold in single precision."""
    # Only POSIX says how much there is.
    if not hasattr(os, "sysconf"):
        return
    needed, held = 4 * parameters, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > held:
        raise ValueError(
            f"its {parameters:,} parameters take {needed / 2**30:,.0f} GiB, and this machine has {held / 2**30:,.0f}: "
            "give smaller sizes"
        )


@contextmanager
def _one_line(name: str, overrides: Mapping[str, Any]) -> Iterator[None]:
    """Turn whatever goes wrong while a configuration or a model is built into one line that says from what.

    What transformers raises for values that do not go together is of many kinds: its own, KeyError, ZeroDivisionError.
    """
    try:
        yield
    except RuleExtrapError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in overrides.items())
        reason = " ".join(str(error).split()) or "no reason given"
        if not isinstance(error, ValueError):
            reason = f"{type(error).__name__}: {reason}"
        raise RuleExtrapError(
            f"architecture {name!r} cannot be built{f' with {given}' if given else ''}: {reason}"
        ) from error
