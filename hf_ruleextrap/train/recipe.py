"""A recipe: everything that decides a run, as commented YAML or as flags."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from hf_ruleextrap.architectures import get_preset, list_architectures
from hf_ruleextrap.data import Splits, build_splits, count_train_words
from hf_ruleextrap.errors import RuleExtrapError, unknown
from hf_ruleextrap.files import safe_name
from hf_ruleextrap.formal import Language
from hf_ruleextrap.inputs import parse_yaml
from hf_ruleextrap.languages import check_consent, get_language, is_file, loaded_language

from .recipe_files import ALTERNATIVES, RecipeValues, find_recipe, merged, read_recipe


def _number(value: object) -> object:
    """YAML 1.1 reads ``1e-3`` as a string; it is meant as a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Real = Annotated[float, BeforeValidator(_number)]


class Recipe(BaseModel):
    """The settings that decide a run; each field is a key of a recipe file and a flag of the command line.

    ``max_epochs``, ``eval_epochs`` and ``max_total_tokens`` are other ways to state ``max_steps``, ``eval_steps`` and
    ``max_new_symbols``: a recipe that is made with them holds the worked-out value, and None in their place.

    A recipe is made from keys and values, or read with `Recipe.from_file`.

    Raises:
        ValidationError: A value has the wrong type or is out of range. `Recipe.of` raises a `RuleExtrapError` instead.

    >>> from hf_ruleextrap import Recipe
    >>> recipe = Recipe(language="dyck", architecture="lstm", max_steps=50)
    >>> recipe.seed, recipe.batch_size, recipe.max_steps
    (0, 128, 50)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    language: str = Field("anbn", description="the language to train on: a name, or FILE.py:CLASS")
    paper: bool = Field(
        False,
        description="the authors' data and prompts, and with size paper what their code does with the network",
    )
    max_length: int = Field(64, ge=1, description="most symbols in a training word")
    train_size: int = Field(512, ge=1, description="words to train on; a language with few words gives all of them")
    held_out_size: int = Field(128, ge=1, description="words in the validation set, and in the test set")
    # What it costs: training misses the words held out, at most a tenth of the language's probability. A model that
    # learns its training words to the letter takes these for no words, and its loss on them is large.
    disjoint: bool = Field(
        True,
        description="rare words of validation and test are not trained on, which keeps a tenth of the language's draws "
        "at most from training; without it, three independent draws",
    )

    architecture: str = Field("lstm", description="a preset's name, or a model type of transformers")
    size: str = Field("mini", description="the preset's size")
    parameters: int | None = Field(None, ge=1, description="about so many parameters; the preset's width is found")
    model: dict[str, Any] = Field({}, description="config keys that override the preset (on the command line: --set)")

    seed: int = Field(0, ge=0, lt=2**32, description="of the data, the weights and the batches")
    max_steps: int = Field(1000, ge=1, description="optimizer steps")
    max_epochs: int | None = Field(
        None, ge=1, exclude=True, description="passes over the training words, instead of max_steps"
    )
    batch_size: int = Field(128, ge=1, description="words in a batch, of all processes together")
    objective: Literal["likelihood", "adversarial", "oracle"] = Field(
        "likelihood",
        description="adversarial and oracle also train on OOD prompts, completed so that open rules break, or hold",
    )
    optimizer: Literal["adamw", "muon", "sgd", "adafactor", "adagrad", "rmsprop"] = Field(
        "adamw", description="the optimizer; sgd is without momentum, muon has AdamW for all but the inner matrices"
    )
    learning_rate: Real = Field(0.002, gt=0, description="peak learning rate")
    lr_scheduler: Literal["constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt"] = Field(
        "cosine", description="schedule of the learning rate"
    )
    schedule_per: Literal["step", "epoch"] = Field(
        "step", description="what the schedule and its warm-up count; epochs in the authors' code"
    )
    warmup_steps: int = Field(0, ge=0, description="steps (or epochs, see schedule_per) until the peak")
    weight_decay: Real = Field(0.01, ge=0, description="of the optimizer")
    decay_all: bool = Field(False, description="biases and gains decay, too, as in the authors' code")
    max_grad_norm: Real = Field(1.0, ge=0, description="gradients are clipped to this norm; 0 for never")
    loss_on_padding: bool = Field(False, description="PAD is a target, too, as in the authors' code")
    validate_on_padding: bool | None = Field(
        None, description="PAD counts in the validation loss; by default where it counts in training"
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16 is automatic mixed precision")
    compile: bool = Field(False, description="compile the model with torch.compile")

    eval_steps: int = Field(100, ge=1, description="steps between evaluations")
    eval_epochs: int | None = Field(
        None,
        ge=1,
        exclude=True,
        description="passes over the words between evaluations, instead of eval_steps",
    )
    patience: int | None = Field(None, ge=1, description="stop after so many evaluations without a better loss")
    prompt_length: int | None = Field(None, ge=1, description="symbols in a prompt; by default the language's")
    max_new_symbols: int | None = Field(None, ge=0, description="most symbols in a completion; default max_length")
    max_total_tokens: int | None = Field(
        None,
        ge=1,
        exclude=True,
        description="most tokens in BOS, prompt, completion and EOS together, instead of max_new_symbols",
    )

    by_length: list[int] = Field([], description="prompt lengths at which rates are also taken, at the end")
    mass_length: int | None = Field(
        None, ge=1, description="at each evaluation, the exact probability of all words up to this length"
    )

    output_dir: str = Field("", description="the run folder; by default runs/LANGUAGE-ARCHITECTURE-seedN")
    use_cpu: bool = Field(False, description="stay on the CPU where there is a GPU")
    push_to_hub: bool = Field(False, description="publish the best checkpoint at the end")
    hub_organization: str | None = Field(None, description="whose repository it becomes; by default yours")
    report_to: Literal["none", "tensorboard", "trackio", "wandb"] = Field("none", description="an experiment tracker")

    @model_validator(mode="after")
    def _work_out(self) -> Recipe:
        """Put steps and symbols where epochs and tokens are given."""
        for key, plain in ALTERNATIVES.items():
            value = getattr(self, key)
            if value is None:
                continue
            if plain in self.model_fields_set:
                raise RuleExtrapError(f"{key} and {plain} are both given, and each decides the other: remove one")
            worked_out = self._symbols_within(value) if key == "max_total_tokens" else value * self.steps_per_epoch
            # The model is frozen for everyone else.
            object.__setattr__(self, plain, worked_out)
            object.__setattr__(self, key, None)
        return self

    def _symbols_within(self, tokens: int) -> int:
        """How many symbols a completion may have where BOS, prompt, completion and EOS share so many tokens."""
        prompt = self.prompt_length
        if prompt is None:
            prompt = loaded_language(self.language, paper=self.paper).prompt_length
        if tokens < prompt + 2:
            raise RuleExtrapError(
                f"max_total_tokens is {tokens}, and BOS, a prompt of {prompt} symbols and EOS take {prompt + 2}: "
                "give more, or a smaller prompt_length"
            )
        return tokens - prompt - 2

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in a pass over the training words."""
        words = count_train_words(
            loaded_language(self.language, paper=self.paper),
            max_length=self.max_length,
            train_size=self.train_size,
        )
        return -(-words // self.batch_size)

    @property
    def language_name(self) -> str:
        """What the language is called in names of folders and repositories: of ``FILE.py:CLASS``, the class."""
        return self.language.rpartition(":")[2]

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return Path(self.output_dir or f"runs/{safe_name(f'{self.language_name}-{self.architecture}')}-seed{self.seed}")

    @property
    def completion_limit(self) -> int:
        """Most symbols in a completion."""
        return self.max_length if self.max_new_symbols is None else self.max_new_symbols

    @property
    def network(self) -> dict[str, Any]:
        """The fields of the model's config that differ from the preset's size.

        With ``paper: true`` and ``size: paper`` the network follows the authors' released code (`Preset.released`);
        what ``model`` says comes before that.
        """
        released = self.paper and self.size == "paper" and self.architecture in list_architectures()
        return {**(get_preset(self.architecture).released if released else {}), **self.model}

    def to_yaml(self) -> str:
        """The recipe as a file that gives it back."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False)

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str, places: Mapping[str, str] | None = None) -> Recipe:
        """A recipe from keys and values.

        Args:
            values: what differs from the defaults.
            where: what to call their source in an error.
            places: for keys that come from elsewhere, what to call that.

        Raises:
            RuleExtrapError: an unknown key (with the nearest known one), a value of the wrong type or out of range, or
                two keys that decide the same.

        >>> Recipe.of({"max_step": 3}, "r.yaml")
        Traceback (most recent call last):
        hf_ruleextrap.errors.RuleExtrapError: r.yaml: unknown key 'max_step': did you mean 'max_steps'? ...
        >>> Recipe.of({"language": "ban", "max_epochs": 3, "train_size": 200}, "r.yaml").max_steps
        6
        """
        places = places or {}
        for key in values:
            if key not in cls.model_fields:
                raise RuleExtrapError(f"{places.get(key, where)}: {unknown('key', key, cls.model_fields)}")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:
                raise RuleExtrapError(f"{where}: {first['ctx']['error']}") from None
            key = str(first["loc"][0])
            reason = first["msg"][0].lower() + first["msg"][1:]
            raise RuleExtrapError(
                f"{places.get(key, where)}: {key} is {first['input']!r}, but {reason.removeprefix('input ')} "
                f"({cls.model_fields[key].description})"
            ) from None

    @classmethod
    def from_file(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
        """A recipe from a YAML file or by a name of `recipe_names`, with overrides.

        Raises:
            RuleExtrapError: no such file, not YAML, or as `of`.
        """
        return cls.over(read_recipe(find_recipe(path), cls.model_fields), overrides or {}, str(path))

    @classmethod
    def over(cls, base: RecipeValues, overrides: Mapping[str, Any], where: str) -> Recipe:
        """A recipe from the values of a file, with others over them.

        Args:
            base: of a file.
            overrides: from somewhere else, such as the command line.
            where: what to call the file in an error that no key is to blame for.

        Raises:
            RuleExtrapError: as `of`.
        """
        places = {key: place for key, place in base.places.items() if key not in overrides}
        return cls.of(merged(base.values, overrides), where, places)


def splits_of(recipe: Recipe, language: Language) -> Splits:
    """The data that a recipe asks for."""
    return build_splits(
        language,
        max_length=recipe.max_length,
        train_size=recipe.train_size,
        held_out_size=recipe.held_out_size,
        seed=recipe.seed,
        disjoint=recipe.disjoint,
        prompt_lengths=[recipe.prompt_length or language.prompt_length, *recipe.by_length],
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The recipe file and a flag for each of its keys."""
    parser.add_argument(
        "recipe",
        nargs="?",
        help="a recipe file (YAML), or a name that `hf-ruleextrap recipes` lists; flags override its keys",
    )
    for name, field in Recipe.model_fields.items():
        if name == "model":
            continue
        default = field.default if field.default not in ("", None) else "none"
        # As the Trainer's own scripts have it, a switch needs no value.
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if field.annotation in (bool, bool | None) else {}
        described = f"{field.description} (default: {default})"
        # Dashes for underscores, as in `HfArgumentParser`.
        flags = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*flags, metavar="VALUE", help=described, **switch)
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override a key of the model's config (repeat)"
    )


def from_arguments(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the parsed command line asks for.

    Raises:
        RuleExtrapError: as `Recipe.of`.
    """
    given = {
        name: _scalar(name, value)
        for name in Recipe.model_fields
        if name != "model" and (value := getattr(arguments, name)) is not None
    }
    base = read_recipe(find_recipe(arguments.recipe), Recipe.model_fields) if arguments.recipe else RecipeValues({})
    if "language" not in given:
        check_consent(str(base.values.get("language", "")), base.places.get("language", ""))
    elif is_file(given["language"]):
        get_language(given["language"])
    if assignments := _assignments(arguments.set):
        given["model"] = assignments
    return Recipe.over(base, given, arguments.recipe or "command line")


def _scalar(name: str, text: str) -> Any:
    """A flag's value as the same text would be read in a recipe file."""
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
