"""Language models in the same tables as trained ones."""

from __future__ import annotations

from pathlib import Path

from llm_server import serving

from hf_ruleextrap.completers import BackendConfig, text_completer
from hf_ruleextrap.evaluation.protocol import ProtocolSettings
from hf_ruleextrap.evaluation.text import TextRun
from hf_ruleextrap.report import read_study, write_report


def test_a_language_model_stands_in_the_report(tmp_path: Path) -> None:
    settings = ProtocolSettings("anbn", shots=3, limit=6, samples=0)
    with serving() as server:
        completer = text_completer("openai", BackendConfig("some-model", base_url=server.url))
        found = TextRun(completer, "some-model", settings, controls=False, out=tmp_path / "store" / "one")()
    study = read_study([tmp_path / "store"])
    row, *references = study.rows
    assert "chance, prompts of some-model" in {reference.source for reference in references}
    assert row.values["ood_headline"].mean == found.main.greedy.report.headline.rate
    assert row.rates["ood_headline"] == (found.main.greedy.report.headline,)
    write_report(study, tmp_path / "report")
    for name in ("report.md", "index.html", "report.csv"):
        text = (tmp_path / "report" / name).read_text()
        assert "some-model" in text
        assert "protocol v2" in text
