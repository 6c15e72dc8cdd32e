"""Build models by the name of an architecture: a preset of this package, or a causal LM that transformers has."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .errors import RuleExtrapError, unknown
from .presets import Preset, get_preset, list_architectures

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from .formal.language import Language

__all__ = [
    "Preset",
    "architecture_config",
    "build_model",
    "count_parameters",
    "fit_parameters",
    "get_preset",
    "list_architectures",
    "model_type_of",
]

# In every language, the tokenizer gives these ids to the special tokens, and the next ids to the alphabet.
_SPECIAL_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# The fields that the language and the tokenizer decide.
_RESERVED_FIELDS = ("vocab_size", *_SPECIAL_IDS)
_FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "str": str,
    "None": type(None),
}
# Fields for which transformers accepts values below 1, with which no model can be built. An alias counts as its field.
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


def model_type_of(name: str) -> str:
    """Return the model type of an architecture in transformers.

    Raises:
        RuleExtrapError: If the name is unknown.

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
    """Create the configuration of an architecture, with the tokenizer's special ids (pad 0, bos 1, eos 2).

    Args:
        name: One of `list_architectures`, or a model type of transformers such as ``"gpt2"``.
        size: The size of the preset, ``"paper"`` or ``"mini"``. A model type of transformers has no sizes.
        vocab_size: The number of tokens, including the three special tokens.
        overrides: The fields of the configuration that differ from the preset.

    Raises:
        RuleExtrapError: If a name, size or field is unknown, or if no model can be built from a value.
    """
    config_class, fields = _resolve(name, size)
    overrides = dict(overrides or {})
    _check_overrides(name, config_class, overrides)
    if not _is(vocab_size, int) or vocab_size <= max(_SPECIAL_IDS.values()):
        raise RuleExtrapError(f"vocab_size is {vocab_size!r}: give the alphabet's size plus 3 for the special tokens")
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
        name: One of `list_architectures`, or a model type of transformers such as ``"gpt2"``.
        language: The name of a language, or a language. The vocabulary is the alphabet and the special tokens.
        vocab_size: The number of tokens; an alternative to ``language``.
        size: The size of the preset, ``"paper"`` or ``"mini"``. A model type of transformers has no sizes.
        seed: The random seed for the weights, which leaves the global random state unchanged. Without a seed, the
            weights are drawn from the global random state.
        parameters: The parameter budget, to which the width is fitted (see `fit_parameters`).
        **overrides: The fields of the configuration that differ from the preset, such as ``num_hidden_layers=2``.

    Returns:
        A model with the ``forward`` and ``generate`` of transformers. The size "paper" is that of Mészáros et al.,
        NeurIPS 2024, arXiv 2409.13728.

    Raises:
        RuleExtrapError: If a name, size, language or field is unknown, if no model can be built from a value, or if a
            model type looks ahead although transformers lists it as causal.

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
        # Counting the parameters reports every error before any memory is allocated.
        _check_memory(count_parameters(config))

    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            # torch.manual_seed would also seed the accelerators, whose random state is not restored here.
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
    """Fit the width of an architecture to a parameter budget, within 5 %.

    Args:
        name: One of `list_architectures`.
        parameters: The parameter budget.
        size: The size of the preset that sets all other fields.
        vocab_size: The number of tokens, as in `architecture_config`.
        overrides: Other fields of the configuration, as in `architecture_config`; the fitted fields are not allowed.

    Returns:
        The fitted fields, as overrides for `build_model`.

    Raises:
        RuleExtrapError: If the budget is not a number of parameters, if the name is a model type of transformers (this
            package does not know the fields for its width), if a fitted field is overridden, or if no width comes
            within 5 % of the budget (the message gives the nearest).

    >>> fit_parameters("lstm", 20_000, vocab_size=5)
    {'hidden_size': 61, 'embedding_size': 17}
    """
    if not _is(parameters, int) or parameters < 1:
        raise RuleExtrapError(f"parameters is {parameters!r}: give an integer of at least 1")
    if name not in list_architectures():
        # Report unknown names first.
        _config_class(name)
        raise RuleExtrapError(
            f"parameters works for presets only ({', '.join(list_architectures())}), and {name!r} is a model type of "
            "transformers: give its sizes as overrides instead"
        )
    preset = get_preset(name)
    (field, step), *_ = preset.fit["width"].items()
    scaled = preset.fit.get("with", {})
    fixed = dict(overrides or {})
    for key in fixed:
        if key in {field, *scaled, *preset.fit.get("fine", {})}:
            raise RuleExtrapError(f"parameters decides {key} of {name}: give parameters or {key}, not both")

    def count(fitted: Mapping[str, Any]) -> int:
        config = architecture_config(name, size=size, vocab_size=vocab_size, overrides={**fixed, **fitted})
        with _one_line(name, fixed):
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
    fitted = min(candidates, key=lambda fields: abs(count(fields) - parameters))
    nearest = count(fitted)
    if abs(nearest - parameters) > 0.05 * parameters:
        raise RuleExtrapError(
            f"no {name} of size {size!r} has {parameters:,} parameters within 5 %: the nearest has {nearest:,} "
            f"({', '.join(f'{key}={value}' for key, value in fitted.items())}); give another budget or size"
        )
    return fitted


def _most(fits: Callable[[int], bool]) -> int:
    """Return the largest number from 1 to 2^20 that fits, or 0 if none fits. All smaller numbers must fit, too."""
    high = 1
    # The bound ends the search for a field without effect, such as the feed-forward width of a model without one.
    while high < 1 << 20 and fits(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def count_parameters(config: PreTrainedConfig) -> int:
    """Count the parameters of a configuration's model without allocating memory for them."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return int(AutoModelForCausalLM.from_config(config).num_parameters())


def _resolve(name: str, size: str) -> tuple[type[PreTrainedConfig], dict[str, Any]]:
    """Return the configuration class of an architecture, and the fields that its size sets."""
    if name in list_architectures():
        preset = get_preset(name)
        if size not in preset.sizes:
            raise unknown(f"size of {name}", size, preset.sizes)
        return _config_class(preset.model_type), dict(preset.sizes[size])
    config_class = _config_class(name)
    # An encoder that transformers can also use as a causal LM looks ahead unless `is_decoder` is set.
    return config_class, {"is_decoder": True} if "is_decoder" in _own_fields(config_class) else {}


def _config_class(model_type: str) -> type[PreTrainedConfig]:
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    # The import registers the architectures of this package with the Auto classes.
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
            f"architecture {model_type!r} is not a causal LM in transformers: give another, such as "
            f"{', '.join(list_architectures())}, gpt2, llama"
        )
    return config_class


def _own_fields(config_class: type[PreTrainedConfig]) -> dict[str, str]:
    """Return the annotation of each field that is specific to an architecture, including aliases of fields."""
    from transformers import PreTrainedConfig

    common = {*inspect.signature(PreTrainedConfig.__init__).parameters, *_RESERVED_FIELDS, "self", "args", "kwargs"}
    parameters = inspect.signature(config_class.__init__).parameters
    fields = {
        key: parameter.annotation.__name__ if isinstance(parameter.annotation, type) else str(parameter.annotation)
        for key, parameter in parameters.items()
        if key not in common
    }
    aliases = {alias: fields[key] for alias, key in config_class.attribute_map.items() if key in fields}
    return fields | aliases


def _check_overrides(name: str, config_class: type[PreTrainedConfig], overrides: Mapping[str, Any]) -> None:
    """Raise an error for a field that the configuration does not have, or a value of the wrong type."""
    fields = _own_fields(config_class)
    for key, value in overrides.items():
        if key in _RESERVED_FIELDS:
            raise RuleExtrapError(
                f"{key} cannot be overridden: vocab_size or language decides the vocabulary, "
                "and the tokenizer decides the special ids (pad 0, bos 1, eos 2)"
            )
        if key not in fields:
            raise unknown(f"field of {name}", key, fields)
        types = fields[key].replace(" ", "").split("|")
        # The configuration itself checks fields of other types.
        if all(each in _FIELD_TYPES for each in types) and not any(_is(value, _FIELD_TYPES[each]) for each in types):
            raise RuleExtrapError(
                f"{key} of {name} is {value!r}, of type {type(value).__name__}: give {' or '.join(types)}"
            )
        names = {key, *(alias for alias, own in config_class.attribute_map.items() if own == key)}
        if names & _AT_LEAST_1 and _is(value, int) and value < 1:
            raise RuleExtrapError(f"{key} of {name} is {value}: give an integer of at least 1")


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    """Return whether a value is an instance of a type; a bool does not count as a number."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _check_memory(parameters: int) -> None:
    """Raise ValueError if the parameters do not fit into this machine's memory in single precision."""
    # Only POSIX systems report the size of the memory.
    if not hasattr(os, "sysconf"):
        return
    needed, memory = 4 * parameters, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ValueError(
            f"its {parameters:,} parameters take {needed / 2**30:,.0f} GiB, and this machine has "
            f"{memory / 2**30:,.0f} GiB: give smaller sizes"
        )


@contextmanager
def _one_line(name: str, overrides: Mapping[str, Any]) -> Iterator[None]:
    """Turn every error of building a configuration or a model into one line that names the values.

    For values that do not fit together, transformers raises errors of its own, KeyError, ZeroDivisionError and others.
    """
    try:
        yield
    except RuleExtrapError:
        raise
    except Exception as error:
        values = ", ".join(f"{key}={value!r}" for key, value in overrides.items())
        reason = " ".join(str(error).split()) or "no reason given"
        if not isinstance(error, ValueError):
            reason = f"{type(error).__name__}: {reason}"
        raise RuleExtrapError(
            f"architecture {name!r} cannot be built{f' with {values}' if values else ''}: {reason}"
        ) from error
