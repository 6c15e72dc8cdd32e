"""What the cards ask to cite."""

from __future__ import annotations

CITATION = """\
@inproceedings{meszaros2024rule,
  title = {Rule Extrapolation in Language Models: A Study of Compositional Generalization on {OOD} Prompts},
  author = {M{\\'e}sz{\\'a}ros, Anna and Ujv{\\'a}ry, Szilvia and Brendel, Wieland and Reizinger, Patrik and
    Husz{\\'a}r, Ferenc},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
}
@software{hf_ruleextrap,
  title = {hf-ruleextrap: rule extrapolation, native to the Hugging Face ecosystem},
  author = {{The hf-ruleextrap authors}},
  year = {2026},
}"""
