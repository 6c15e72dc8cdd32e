"""The configuration of the documentation site: ``sphinx-build docs site``.

Pages that describe the code are generated from the code while the site is built: the recipe keys come from the schema
of a recipe, the commands from their parsers, and the Python names from their docstrings.
"""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import hf_ruleextrap

project = "hf-ruleextrap"
author = "The hf-ruleextrap authors"
copyright = author  # noqa: A001  (the name that Sphinx reads)
version = release = hf_ruleextrap.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]

# A name between single backquotes becomes a link where the name is documented, and code elsewhere.
default_role = "py:obj"
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"hf-ruleextrap {version}"
html_theme_options = {"navigation_with_keys": True}
html_show_sphinx = False

# Pages outside `docs/` that are part of the site, by the name of the page that includes them.
_INCLUDED = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


class RecipeKeys(SphinxDirective):
    """A table of the keys of a recipe with their types, defaults and descriptions."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        from hf_ruleextrap.train.recipe import Recipe

        rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
        schema = Recipe.model_json_schema()["properties"]
        for name, field in Recipe.model_fields.items():
            description = (field.description or "").replace("|", "\\|")
            default = "" if field.default is None or field.is_required() else f"`{field.default!r}`"
            rows.append(f"| `{name}` | {_type(schema[name])} | {default} | {description} |")
        return self.parse_text_to_nodes("\n".join(rows))


class Commands(SphinxDirective):
    """The help text of each command under a heading of its own."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        sections = []
        # A summary follows its command, on the next line if the name is long, and is one line in 1,000 columns.
        for name, summary in sorted(re.findall(r"^    ([\w-]+)\s+(\S.*)", _help(width=1000), flags=re.MULTILINE)):
            if name == "train":
                text = "The flags of `train` are the [keys of a recipe](recipe.md).\n"
            else:
                text = f"```text\n{_help(name, width=90)}```\n"
            sections.append(f"## {name}\n\n{summary[0].upper()}{summary[1:].rstrip('.')}.\n\n{text}")
        return self.parse_text_to_nodes("\n".join(sections), allow_section_headings=True)


def _help(*command: str, width: int) -> str:
    """Return what ``hf-ruleextrap [COMMAND] --help`` prints in a number of columns."""
    from hf_ruleextrap.cli import build_parser

    # The parsers read the width from the environment. Python 3.14 would add colours.
    os.environ |= {"COLUMNS": str(width), "NO_COLOR": "1"}
    output = io.StringIO()
    with redirect_stdout(output), suppress(SystemExit):
        build_parser().parse_args([*command, "--help"])
    return output.getvalue()


def _type(schema: dict[str, Any]) -> str:
    """Describe the type of a key in a few words."""
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    return str(schema.get("type", "any"))


def _rewrite_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn links to files of the repository into links to the pages of the site, or into the names of the files."""

    def rewrite(match: re.Match[str]) -> str:
        text, path, anchor = match[1], match[2], match[3] or ""
        # A link is relative to its file. The files of `_INCLUDED` lie in the root of the repository.
        folder = Path(app.srcdir).parent if page in {"contributing", "changelog"} else Path(app.srcdir, page).parent
        target = Path(os.path.normpath(folder / path))
        if target.parent == Path(app.srcdir).parent and target.name in _INCLUDED:
            inside = Path(app.srcdir, _INCLUDED[target.name])
        elif target == Path(app.srcdir).parent / "README.md":
            inside = Path(app.srcdir, "index.md")
        elif target.is_relative_to(app.srcdir) and target.suffix in {".md", ".png"} and target.exists():
            inside = target
        else:
            return text if path in text else f"{text} (`{os.path.relpath(target, Path(app.srcdir).parent)}`)"
        return f"[{text}]({os.path.relpath(inside, Path(app.srcdir, page).parent)}{anchor})"

    if page in {name.removesuffix(".md") for name in _INCLUDED.values()}:
        original = {included: name for name, included in _INCLUDED.items()}[f"{page}.md"]
        source[0] = (Path(app.srcdir).parent / original).read_text(encoding="utf-8")
    source[0] = re.sub(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)]*)?\)", rewrite, source[0])


def setup(app: Sphinx) -> None:
    """Register the directives and the rewriting of links."""
    app.add_directive("recipe-keys", RecipeKeys)
    app.add_directive("commands", Commands)
    app.connect("source-read", _rewrite_links)
