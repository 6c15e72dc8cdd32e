"""The store and the report of a small study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from studies import rate, write_study

from hf_ruleextrap.cli import main
from hf_ruleextrap.evaluation.rational_references import LearnerRates
from hf_ruleextrap.formal.rational import LEARNERS
from hf_ruleextrap.report import read
from hf_ruleextrap.train.rational import RationalRates
from hf_ruleextrap.train.recipe import Recipe


def learner_rates(recipe: Recipe) -> RationalRates:
    """Return chosen rates for a^n b^n, and none for other languages, instead of counting hypotheses for seconds."""
    if recipe.language != "anbn":
        return RationalRates((), "not counted in this test")
    return RationalRates(tuple(LearnerRates(name, rate(8 + i), rate(10 + i), 64) for i, name in enumerate(LEARNERS)))


@pytest.fixture(scope="session", autouse=True)
def _quick_learners() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "rational_rates", learner_rates)
        yield


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def report(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert main(["report", str(store), "--out", str(folder)]) == 0
    return folder
