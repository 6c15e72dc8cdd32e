"""A recipe holds every setting that decides a run. Users write it as commented YAML or as command-line flags."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from hf_ruleextrap.architectures import get_preset, list_architectures
from hf_ruleextrap.data import count_train_words
from hf_ruleextrap.errors import RuleExtrapError
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.inputs import parse_yaml
from hf_ruleextrap.languages import check_consent, get_language, is_file, loaded_language

from .recipe_files import ALTERNATIVES, RecipeValues, read_recipe, unknown_key


def _number(value: object) -> object:
    """Convert a string such as ``1e-3``, which YAML 1.1 does not read as a number, to a float."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]

# The keys that a stream cannot use: disjoint must be false, and the others keep their defaults.
_NOT_OF_A_STREAM = ("disjoint", "train_size", "noise", "objective", "max_epochs", "eval_epochs", "loss_on_padding")


class Recipe(BaseModel):
    """The settings of a run. Each field is a key of a recipe file and a flag of the command line.

    ``max_epochs``, ``eval_epochs`` and ``max_total_tokens`` are alternatives to ``max_steps``, ``eval_steps`` and
    ``max_new_symbols``. A recipe that is created with an alternative stores the derived value under the plain key and
    None under the alternative.

    Create a recipe from keys and values, or read one with `Recipe.from_file`.

    Raises:
        ValidationError: If a value has the wrong type or is out of range; `Recipe.of` raises `RuleExtrapError` instead.

    >>> from hf_ruleextrap import Recipe
    >>> recipe = Recipe(language="dyck", architecture="lstm", max_steps=50)
    >>> recipe.seed, recipe.batch_size, recipe.max_steps
    (0, 128, 50)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    language: str = Field("anbn", description="language to train on: a name, or FILE.py:CLASS")
    paper: bool = Field(
        False,
        description="use the authors' data and prompts; with size=paper, also build the network as their code does",
    )
    max_length: int = Field(64, ge=1, description="largest number of symbols in a word of the splits")
    train_size: int = Field(
        512, ge=1, description="number of training words; a language with fewer words uses each of its words"
    )
    held_out_size: int = Field(
        128, ge=1, description="number of words in the validation set, and again in the test set"
    )
    # The price of disjoint splits: training misses the held-out words, which have at most a tenth of the language's
    # probability. A model that memorizes its training words assigns the held-out words almost no probability, and its
    # loss on them is large.
    disjoint: bool = Field(
        True,
        description="hold rare validation and test words out of training, with at most a tenth of the language's "
        "probability; false draws the three splits independently",
    )

    noise: Real = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the training words that are replaced by random words outside the language",
    )
    stream: bool = Field(
        False,
        description="train once on max_steps x batch_size words in the order in which they are drawn, and measure the "
        "prequential code length; replaces train_size and disjoint",
    )
    settings_tried: int = Field(
        1,
        ge=1,
        description="number of settings among which these were chosen by their code length, which is part of the code "
        "length",
    )

    architecture: str = Field("lstm", description="name of a preset, or a model type of transformers")
    size: str = Field("mini", description="size of the preset: mini or paper")
    parameters: int | None = Field(
        None, ge=1, description="parameter budget; the width of the preset is fitted to the budget"
    )
    model: dict[str, Any] = Field({}, description="config keys that override the preset (on the command line: --set)")

    seed: int = Field(0, ge=0, lt=2**32, description="random seed for the data, the weights and the batches")
    # Also the length of the learning-rate schedule, which must not depend on a stop that is not known in advance.
    max_steps: int = Field(
        1000, ge=1, description="number of optimizer steps, at most; the learning-rate schedule covers all of them"
    )
    max_epochs: int | None = Field(
        None, ge=1, exclude=True, description="number of passes over the training words; replaces max_steps"
    )
    batch_size: int = Field(128, ge=1, description="number of words in a batch, summed over all processes")
    objective: Literal["likelihood", "adversarial", "oracle"] = Field(
        "likelihood",
        description="training objective; adversarial and oracle also train on OOD prompts with completions that break "
        "the open rules (adversarial) or satisfy them (oracle)",
    )
    optimizer: Literal["adamw", "muon", "sgd", "adafactor", "adagrad", "rmsprop"] = Field(
        "adamw", description="optimizer; sgd has no momentum, muon uses AdamW for all but the inner matrices"
    )
    learning_rate: Real = Field(0.002, gt=0, description="peak learning rate")
    lr_scheduler: Literal["constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt"] = Field(
        "cosine", description="learning-rate schedule"
    )
    schedule_per: Literal["step", "epoch"] = Field(
        "step", description="unit of the schedule and its warm-up; the authors' code counts epochs"
    )
    warmup_steps: int = Field(
        0, ge=0, description="number of steps (or epochs, see schedule_per) until the peak learning rate"
    )
    weight_decay: Real = Field(0.01, ge=0, description="weight decay of the optimizer")
    decay_all: bool = Field(False, description="apply weight decay to biases and gains too, as the authors' code does")
    max_grad_norm: Real = Field(1.0, ge=0, description="norm to which gradients are clipped; 0 disables clipping")
    loss_on_padding: bool = Field(
        False, description="train on PAD as a target like any other token, as the authors' code does"
    )
    validate_on_padding: bool | None = Field(
        None, description="count PAD in the validation loss; the default follows loss_on_padding"
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="numeric precision; bf16 is mixed precision")
    compile: bool = Field(False, description="compile the model with torch.compile")

    eval_steps: int = Field(100, ge=1, description="number of steps between evaluations")
    eval_epochs: int | None = Field(
        None,
        ge=1,
        exclude=True,
        description="number of passes over the training words between evaluations; replaces eval_steps",
    )
    patience: int | None = Field(
        None, ge=1, description="number of evaluations without a lower validation loss after which training stops"
    )
    stop_when_learned: int | None = Field(
        None,
        ge=1,
        description="number of evaluations after which training stops once the model has learned the language; the "
        "evaluation at which training stops must meet the criterion as well",
    )
    checkpoint: Literal["best", "last"] = Field(
        "best",
        description="checkpoint that the run folder and the results describe: best (the lowest validation loss) or "
        "last",
    )
    prompt_length: int | None = Field(
        None, ge=1, description="number of symbols in a prompt; the default depends on the language"
    )
    max_new_symbols: int | None = Field(
        None, ge=0, description="largest number of symbols in a completion; the default is max_length"
    )
    max_total_tokens: int | None = Field(
        None,
        ge=1,
        exclude=True,
        description="largest number of tokens in BOS, prompt, completion and EOS together; replaces max_new_symbols",
    )

    by_length: list[int] = Field([], description="prompt lengths whose rates are also measured at the end of the run")
    mass_length: int | None = Field(
        None,
        ge=1,
        description="longest word for the exact mass: each evaluation sums the model's probability of all words up to "
        "this length",
    )

    output_dir: str = Field("", description="run folder; the default is runs/LANGUAGE-ARCHITECTURE-seedN")
    use_cpu: bool = Field(False, description="train on the CPU even if the machine has a GPU")
    push_to_hub: bool = Field(False, description="publish the run folder's checkpoint at the end of the run")
    hub_organization: str | None = Field(
        None, description="organization that owns the published repository; the default is your own account"
    )
    report_to: Literal["none", "tensorboard", "trackio", "wandb"] = Field("none", description="experiment tracker")

    @model_validator(mode="after")
    def _check_stream(self) -> Recipe:
        """Refuse keys that a stream makes meaningless; a stream never repeats its order and holds no word out."""
        if not self.stream:
            if self.settings_tried != 1:
                raise RuleExtrapError("settings_tried is part of the code length of a stream: add stream: true")
            return self
        for key in _NOT_OF_A_STREAM:
            value = getattr(self, key)
            required = False if key == "disjoint" else Recipe.model_fields[key].default
            if key in self.model_fields_set and value != required:
                raise RuleExtrapError(
                    f"{key} is {value!r}, which a stream of fresh words cannot use: remove {key}, or stream"
                )
        object.__setattr__(self, "disjoint", False)
        return self

    @model_validator(mode="after")
    def _work_out(self) -> Recipe:
        """Replace epochs by steps, and total tokens by symbols of a completion."""
        for key, plain in ALTERNATIVES.items():
            value = getattr(self, key)
            if value is None:
                continue
            if plain in self.model_fields_set:
                raise RuleExtrapError(f"{key} and {plain} are both set, and each decides the other: remove one")
            derived = self._symbols_within(value) if key == "max_total_tokens" else value * self.steps_per_epoch
            # `object.__setattr__` bypasses the frozen model, and only this validator may do so.
            object.__setattr__(self, plain, derived)
            object.__setattr__(self, key, None)
        return self

    def _symbols_within(self, tokens: int) -> int:
        """Return the largest completion for which BOS, prompt, completion and EOS together have at most ``tokens``."""
        prompt = self.prompt_length
        if prompt is None:
            prompt = loaded_language(self.language, paper=self.paper).prompt_length
        if tokens < prompt + 2:
            raise RuleExtrapError(
                f"max_total_tokens is {tokens}, but BOS, a prompt of {prompt} symbols and EOS take {prompt + 2}: "
                "use a larger max_total_tokens or a smaller prompt_length"
            )
        return tokens - prompt - 2

    @property
    def steps_per_epoch(self) -> int:
        """The number of optimizer steps in one pass over the training words."""
        words = count_train_words(
            loaded_language(self.language, paper=self.paper),
            max_length=self.max_length,
            train_size=self.train_size,
        )
        return -(-words // self.batch_size)

    @property
    def language_name(self) -> str:
        """The language's name in folder and repository names; for ``FILE.py:CLASS``, the name of the class."""
        return self.language.rpartition(":")[2]

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return Path(self.output_dir or f"runs/{safe_name(f'{self.language_name}-{self.architecture}')}-seed{self.seed}")

    @property
    def completion_limit(self) -> int:
        """The largest number of symbols in a completion."""
        return self.max_length if self.max_new_symbols is None else self.max_new_symbols

    @property
    def network(self) -> dict[str, Any]:
        """The fields of the model's config that override the preset's size.

        With ``paper: true`` and ``size: paper`` the network follows the authors' released code (`Preset.released`).
        The values under ``model`` take precedence.
        """
        released = self.paper and self.size == "paper" and self.architecture in list_architectures()
        return {**(get_preset(self.architecture).released if released else {}), **self.model}

    def to_yaml(self) -> str:
        """Return the recipe as YAML, from which `from_file` restores the same recipe."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False)

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str, places: Mapping[str, str] | None = None) -> Recipe:
        """Create a recipe from keys and values.

        Args:
            values: The values that differ from the defaults.
            where: The name of their source in error messages.
            places: For each key with a source of its own, the name of that source.

        Raises:
            RuleExtrapError: If a key is unknown (the message suggests the nearest known key), if a value has the wrong
                type or is out of range, or if two keys decide the same setting.

        >>> Recipe.of({"max_step": 3}, "r.yaml")
        Traceback (most recent call last):
        hf_ruleextrap.errors.RuleExtrapError: r.yaml: unknown key 'max_step': did you mean 'max_steps'? ...
        >>> Recipe.of({"language": "ban", "max_epochs": 3, "train_size": 200}, "r.yaml").max_steps
        6
        """
        places = places or {}
        for key in values:
            if key not in cls.model_fields:
                raise RuleExtrapError(f"{places.get(key, where)}: {unknown_key(key, cls.model_fields)}")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first_error = error.errors()[0]
            if not first_error["loc"]:
                raise RuleExtrapError(f"{where}: {first_error['ctx']['error']}") from None
            key = str(first_error["loc"][0])
            reason = first_error["msg"][0].lower() + first_error["msg"][1:]
            raise RuleExtrapError(
                f"{places.get(key, where)}: {key} is {first_error['input']!r}, but {reason.removeprefix('input ')} "
                f"({cls.model_fields[key].description})"
            ) from None

    @classmethod
    def from_file(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
        """Create a recipe from a YAML file, or from the name of a recipe of the package, with overrides.

        Raises:
            RuleExtrapError: If the file does not exist or is not YAML, and for every reason of `of`.
        """
        return cls.over(read_recipe(path, cls.model_fields), overrides or {}, str(path))

    @classmethod
    def over(cls, base: RecipeValues, overrides: Mapping[str, Any], where: str) -> Recipe:
        """Create a recipe from the values of a file and from overrides.

        Args:
            base: The values of the file.
            overrides: Values from another source, such as the command line. They replace the values of the file.
            where: The name of the file in an error that concerns no single key.

        Raises:
            RuleExtrapError: For every reason of `of`.
        """
        values, places = base.over(overrides, cls.model_fields["architecture"].default)
        return cls.of(values, where, places)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the recipe argument and one flag for each key of a recipe to a parser."""
    parser.add_argument(
        "recipe",
        nargs="?",
        help="a recipe file (YAML), or a name that `hf-ruleextrap recipes` lists; flags override its keys",
    )
    for name, field in Recipe.model_fields.items():
        if name == "model":
            continue
        default = field.default if field.default not in ("", None) else "none"
        # A boolean flag needs no value, as in the scripts of transformers.
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if field.annotation in (bool, bool | None) else {}
        description = f"{field.description} (default: {default})"
        # Each flag may be written with dashes or underscores, as in `HfArgumentParser`.
        flags = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*flags, metavar="VALUE", help=description, **switch)
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override a key of the model's config (repeat)"
    )


def from_arguments(arguments: argparse.Namespace) -> Recipe:
    """Create the recipe that a parsed command line describes.

    Raises:
        RuleExtrapError: For every reason of `Recipe.of`.
    """
    flags = {
        name: _scalar(name, value)
        for name in Recipe.model_fields
        if name != "model" and (value := getattr(arguments, name)) is not None
    }
    base = read_recipe(arguments.recipe, Recipe.model_fields) if arguments.recipe else RecipeValues({})
    if "language" not in flags:
        check_consent(str(base.values.get("language", "")), base.places.get("language", ""))
    elif is_file(flags["language"]):
        get_language(flags["language"])
    if assignments := _assignments(arguments.set):
        flags["model"] = assignments
    return Recipe.over(base, flags, arguments.recipe or "command line")


def _scalar(name: str, text: str) -> Any:
    """Parse the value of a flag as a recipe file would read the same text."""
    if Recipe.model_fields[name].annotation is str:
        return text
    return parse_yaml(text, f"--{name} {text!r:.40}")


def _assignments(pairs: Sequence[str]) -> dict[str, Any]:
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise RuleExtrapError(f"--set {pair!r}: give KEY=VALUE, e.g. --set hidden_size=32")
        values[key] = parse_yaml(value, f"--set {pair!r:.40}")
    return values
