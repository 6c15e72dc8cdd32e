"""Write dataset repositories as folders, by default for the languages of the paper.

    python dataset_scripts/build.py [LANGUAGE …] [--to FOLDER]

In FOLDER, ``load_dataset("ruleextrap/anbn")`` then loads the dataset as from the Hub. For each
language, the script runs ``hf-ruleextrap publish dataset``, and passes on all other options.
"""

from __future__ import annotations

import argparse
import sys

from hf_ruleextrap.cli import main
from hf_ruleextrap.languages import list_languages

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("languages", nargs="*", help="default: the six languages of the paper")
    arguments, rest = parser.parse_known_args()
    codes = [main(["publish", "dataset", name, *rest]) for name in arguments.languages or list_languages(tag="paper")]
    sys.exit(max(codes))
