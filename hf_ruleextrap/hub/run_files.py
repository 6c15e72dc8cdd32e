"""Read the weights, the configuration and the tokenizer of a run folder as checked values for publishing.

A run folder may come from a stranger. Therefore no file is copied from it. The model is loaded with the classes of
transformers and of this package, never with code in the folder, and is saved again for publishing.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_ruleextrap.architectures import list_architectures, model_type_of
from hf_ruleextrap.errors import RuleExtrapError, one_line
from hf_ruleextrap.tokenization import alphabet_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_CONFIG, _WEIGHTS, _TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"


def read_model(run: Path, architecture: str) -> PreTrainedModel:
    """Load the best checkpoint of a run.

    Args:
        run: the run folder.
        architecture: the name of the architecture in the run's recipe.

    Raises:
        RuleExtrapError: the weights are missing or unreadable, do not fit the configuration, or are not of the
            architecture; or a file is a symbolic link.
    """
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    config = _read_config(run, architecture)
    path = _regular(run / _WEIGHTS)
    try:
        with safe_open(path, framework="pt") as weights:
            names = list(weights.keys())
        load: Any = AutoModelForCausalLM.from_pretrained
        model, loading = load(
            run, config=config, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    # The exception for an incomplete file or for wrong shapes depends on the library.
    except Exception as error:
        raise RuleExtrapError(
            f"{path} cannot be read as the weights of this run ({one_line(str(error))[:200]}): train it again"
        ) from None
    wrong = sorted({*loading["missing_keys"], *loading["unexpected_keys"], *map(str, loading["mismatched_keys"])})
    if wrong or not names:
        shown = one_line(", ".join(wrong[:3]))[:200] or "it is empty"
        raise RuleExtrapError(f"{path} does not fit {run / _CONFIG} ({shown}): train it again")
    loaded: PreTrainedModel = model
    return loaded


def read_alphabet(run: Path) -> tuple[str, ...]:
    """Return the alphabet of a run's tokenizer.

    Raises:
        RuleExtrapError: the tokenizer is missing or unreadable, or this package did not write it.
    """
    path = _regular(run / _TOKENIZER)
    try:
        return alphabet_of(_read_json(path)["model"]["vocab"])
    except (KeyError, TypeError, ValueError):
        raise RuleExtrapError(f"{path} is not a tokenizer of one token a symbol: train the run again") from None


def _read_config(run: Path, architecture: str) -> PreTrainedConfig:
    """Return the configuration of a run with only the fields that its class knows."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    path = _regular(run / _CONFIG)
    values = _read_json(path)
    model_type = model_type_of(architecture)
    if not isinstance(values, dict) or values.get("model_type") != model_type:
        raise RuleExtrapError(f"{path} is not the configuration of {architecture!r}, which the run's recipe names")
    config_class: type[PreTrainedConfig] = CONFIG_MAPPING[model_type]
    known = {*inspect.signature(config_class.__init__).parameters, *inspect.signature(PreTrainedConfig).parameters}
    fields = {key: value for key, value in values.items() if key in known - {"self", "kwargs"}}
    try:
        return config_class(**fields)
    except Exception as error:
        raise RuleExtrapError(f"{path} makes no {architecture}: {one_line(str(error))[:200]}") from None


def brings_code(architecture: str) -> bool:
    """Return whether checkpoints of an architecture contain code, because transformers lacks the architecture."""
    return architecture in list_architectures() and model_type_of(architecture).startswith("ruleextrap_")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise RuleExtrapError(f"{path} is torn, or not JSON: train the run again") from None


def _regular(path: Path) -> Path:
    """Return a path that is a regular file; a symbolic link could point to any file of this machine."""
    if path.is_symlink():
        raise RuleExtrapError(f"{path} is a symbolic link, and publishing follows none: put the file itself there")
    if not path.is_file():
        raise RuleExtrapError(f"{path} is missing, so there is nothing to publish: train the run again")
    return path
