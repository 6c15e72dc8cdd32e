"""Build the dataset repositories of the paper's languages, or of those given, as folders.

    python dataset_scripts/build.py [LANGUAGE …] [--to FOLDER]

From FOLDER, ``load_dataset("ruleextrap/anbn")`` then works as it would from the Hub. It is what
``hf-ruleextrap publish dataset`` does, for several languages.
"""

from __future__ import annotations

import argparse
import sys

from hf_ruleextrap.cli import main
from hf_ruleextrap.languages import list_languages

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("languages", nargs="*", help="default: the six of the paper")
    arguments, rest = parser.parse_known_args()
    codes = [main(["publish", "dataset", name, *rest]) for name in arguments.languages or list_languages(tag="paper")]
    sys.exit(max(codes))
