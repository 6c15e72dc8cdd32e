"""Read recipe files together with the recipes that they extend."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hf_ruleextrap.architectures import list_architectures
from hf_ruleextrap.errors import RuleExtrapError, unknown
from hf_ruleextrap.inputs import find_file, read_text, read_yaml

PER_ARCHITECTURE = "per_architecture"
"""The key of a recipe file whose value maps an architecture to keys that hold for this architecture alone."""

ALTERNATIVES = {"max_epochs": "max_steps", "eval_epochs": "eval_steps", "max_total_tokens": "max_new_symbols"}
"""For each alternative key, the plain key whose value is derived from the alternative."""


@dataclass(frozen=True)
class RecipeValues:
    """The keys and values of a recipe file, including the values of the recipes that the file extends.

    Attributes:
        values: The values, without ``extends`` and ``per_architecture``.
        places: For each key, ``FILE:LINE`` of the file that sets the key.
        per_architecture: For each architecture, the values that replace ``values``.
        chain: The file, the file that it extends, and so on.
    """

    values: dict[str, Any]
    places: dict[str, str] = field(default_factory=dict)
    per_architecture: dict[str, dict[str, Any]] = field(default_factory=dict)
    chain: tuple[Path, ...] = ()

    def over(self, values: Mapping[str, Any], default: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Merge other values over these, after the values for the architecture, and return them with their places.

        Args:
            values: The values, which may choose the architecture.
            default: The architecture of a recipe that names none.
        """
        architecture = str(values.get("architecture", self.values.get("architecture", default)))
        own = self.per_architecture.get(architecture, {})
        places = self.places | dict.fromkeys(own, self.places.get("per_architecture", ""))
        return merged(merged(self.values, own), values), {key: places[key] for key in places if key not in values}


def read_recipe(name: str | Path, keys: Collection[str], *, beside: Path | None = None) -> RecipeValues:
    """Read the values of a recipe file, and under them the values of the recipe that its ``extends`` names.

    Args:
        name: The file, or the name of a recipe of the package (see `find_file`).
        keys: The keys that a recipe may have.
        beside: The folder from which a relative path starts; the default is the working directory.

    Raises:
        RuleExtrapError: If a file is missing or is not a recipe, if a recipe extends itself, or if a key is unknown.
    """
    return _read(find_file("recipe", name, beside=beside), keys, ())


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two sets of values: ``over`` replaces ``base``, and the mappings under ``model`` merge key by key.

    A key also replaces its alternative: ``max_steps`` replaces ``max_epochs``, and the reverse.

    >>> merged({"max_epochs": 9, "model": {"a": 1}}, {"max_steps": 5, "model": {"b": 2}})
    {'model': {'a': 1, 'b': 2}, 'max_steps': 5}
    """
    replaced = {derived for derived, plain in ALTERNATIVES.items() if plain in over}
    replaced |= {plain for derived, plain in ALTERNATIVES.items() if over.get(derived) is not None}
    values = {**{key: value for key, value in base.items() if key not in replaced}, **over}
    ours, theirs = over.get("model"), base.get("model")
    if isinstance(ours, Mapping) and theirs is not None:
        # A value of the wrong type stays, so that validation reports it with the name of its file.
        values["model"] = {**theirs, **ours} if isinstance(theirs, Mapping) else theirs
    return values


def _read(path: Path, keys: Collection[str], before: tuple[Path, ...]) -> RecipeValues:
    # Two different paths may name the same file.
    if path.resolve() in [earlier.resolve() for earlier in before]:
        chain = ", which extends ".join(map(str, (*before[1:], path)))
        raise RuleExtrapError(f"{before[0]} extends {chain}: a recipe cannot extend itself, remove one `extends`")
    values, lines = read_yaml(path), _lines(path)
    places = {key: f"{path}:{lines[key]}" if key in lines else str(path) for key in values}
    extends = values.pop("extends", None)
    per_architecture = values.pop(PER_ARCHITECTURE, {})
    for key in values:
        if key not in keys:
            raise RuleExtrapError(f"{places[key]}: {unknown_key(key, [*keys, 'extends', PER_ARCHITECTURE])}")
    _check_per_architecture(per_architecture, places.get(PER_ARCHITECTURE, ""), keys)
    if extends is None:
        return RecipeValues(values, places, per_architecture, (path,))
    if not isinstance(extends, str) or not extends:
        raise RuleExtrapError(f"{places['extends']}: extends is {extends!r}: give the name or the file of one recipe")
    try:
        parent = find_file("recipe", extends, beside=path.parent)
    except RuleExtrapError as error:
        raise RuleExtrapError(f"{places['extends']}: {error}") from None
    base = _read(parent, keys, (*before, path))
    together = {}
    for name in base.per_architecture | per_architecture:
        # A value that this file states for all architectures replaces what its base states for one of them.
        inherited = {key: value for key, value in base.per_architecture.get(name, {}).items() if key not in values}
        together[name] = merged(inherited, per_architecture.get(name, {}))
    return RecipeValues(merged(base.values, values), {**base.places, **places}, together, (path, *base.chain))


def _check_per_architecture(per_architecture: object, place: str, keys: Collection[str]) -> None:
    """Raise an error if the value of ``per_architecture`` is no mapping of architectures to keys with values."""
    if not isinstance(per_architecture, dict) or not all(isinstance(own, dict) for own in per_architecture.values()):
        raise RuleExtrapError(
            f"{place}: {PER_ARCHITECTURE} is {per_architecture!r:.80}: give a mapping of architectures to recipe keys "
            "with values, such as {mamba: {learning_rate: 0.001}}"
        )
    allowed = [key for key in keys if key != "architecture"]
    for name, own in per_architecture.items():
        if name not in list_architectures() and name not in _model_types():
            raise RuleExtrapError(f"{place}: {unknown('architecture', str(name), list_architectures())}")
        for key in own:
            if key not in allowed:
                raise RuleExtrapError(f"{place}, architecture {name}: {unknown_key(str(key), allowed)}")


def _model_types() -> Collection[str]:
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING.keys()


OTHER_NAMES = {
    **dict.fromkeys(("num_train_epochs", "epochs"), "max_epochs is the number of passes over the training words"),
    **dict.fromkeys(
        ("per_device_train_batch_size", "train_batch_size", "gradient_accumulation_steps"),
        "batch_size is the number of words in a batch of all processes together",
    ),
    **dict.fromkeys(
        ("per_device_eval_batch_size", "eval_batch_size"), "evaluations choose their batches themselves: leave it out"
    ),
    **dict.fromkeys(
        ("eval_strategy", "evaluation_strategy", "save_strategy", "save_steps", "logging_steps", "logging_strategy"),
        "each evaluation also writes the log and a checkpoint; eval_steps or eval_epochs says when",
    ),
    **dict.fromkeys(("lr", "lr_rate"), "the name is learning_rate"),
    "lr_scheduler_type": "the name is lr_scheduler",
    "warmup_ratio": "warmup_steps is the number of steps of the warm-up",
    "optim": "the name is optimizer",
    **dict.fromkeys(("bf16", "fp16"), "precision is fp32 or bf16"),
    **dict.fromkeys(("no_cuda", "device"), "use_cpu trains on the CPU; otherwise a GPU is used where there is one"),
    "torch_compile": "the name is compile",
    "early_stopping_patience": "the name is patience",
    "data_seed": "seed is the random seed for the data, too",
    "hub_model_id": "hub_organization is the owner, and the name of the repository follows from the run",
    "resume_from_checkpoint": "the same command resumes the run: leave it out",
    "overwrite_output_dir": "the flag --overwrite replaces a run",
    "run_name": "output_dir names the run",
    **dict.fromkeys(("model_name_or_path", "model_type", "model_name"), "architecture names the model"),
    **dict.fromkeys(("dataset", "dataset_name", "train_file"), "language names the data"),
    **dict.fromkeys(("max_seq_length", "block_size"), "max_length is the largest number of symbols in a word"),
    **dict.fromkeys(("max_new_tokens", "max_tokens"), "max_new_symbols is the largest number of symbols"),
}
"""For each name of the Trainer's settings, and of scripts of transformers, what a recipe has in its place."""


def unknown_key(key: str, keys: Iterable[str]) -> str:
    """Return the message for a key that no recipe has.

    >>> unknown_key("num_train_epochs", ["max_epochs"])
    "unknown key 'num_train_epochs': max_epochs is the number of passes over the training words"
    """
    if key in OTHER_NAMES:
        return f"unknown key {key!r}: {OTHER_NAMES[key]}"
    return str(unknown("key", key, keys))


def _lines(path: Path) -> dict[str, int]:
    """Return the line number of each key of a YAML file that `read_yaml` has read."""
    node = yaml.compose(read_text(path, "recipe"), Loader=yaml.SafeLoader)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {str(key.value): key.start_mark.line + 1 for key, _ in pairs}
