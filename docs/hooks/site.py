"""Pages of the docs site that are made from the code: commands, docstrings, model cards, and files that pages link to.

MkDocs calls the `on_...` functions (`hooks` in mkdocs.yml). The pages under docs/ link to files of the repository as
they do on a code host (`../configs/cps/small.yaml`); here such a link leads to a page that shows the file.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("volumes", "networks", "propagation_module", "reference_module", "cps", "baseline3d", "tools")
SHOWN_OF_TOOLS = ("tools.automatic", "tools.batch")
CARDS = {"propagation_module/weights/README.md", "reference_module/weights/README.md"}
_LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {"reference/commands.md": _commands()}
    made.update({f"reference/{room}.md": _room(room) for room in ROOMS})
    made.update({_card_page(card): (ROOT / card).read_text(encoding="utf-8") for card in CARDS})
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    for target in sorted(_linked_files(files)):
        page = File.generated(config, _page_of(target), content=_shown(target), inclusion=InclusionLevel.NOT_IN_NAV)
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files of the repository, turned to the pages that show them."""
    folder = posixpath.dirname(page.file.src_uri)

    def turned(link: re.Match[str]) -> str:
        target = _outside(folder, link[2])
        return link[0] if target is None else link[1] + posixpath.relpath(_page_of(target), folder or ".")

    return _LINK.sub(turned, markdown)


def _linked_files(files: Files) -> Iterator[str]:
    """What pages under docs/ link to elsewhere in the repository, relative to its root; model cards have pages."""
    seen = set(CARDS)
    for file in files.documentation_pages():
        for link in _LINK.finditer(file.content_string):
            target = _outside(posixpath.dirname(file.src_uri), link[2])
            if target is None or target in seen:
                continue
            if not (ROOT / target).exists():
                raise PluginError(f"docs/{file.src_uri}: found a link to {target}; no such file; correct it")
            seen.add(target)
            yield target


def _outside(folder: str, link: str) -> str | None:
    """The link's target relative to the repository's root; None: it is within docs/."""
    path = posixpath.normpath(posixpath.join("docs", folder, link))
    return None if path.startswith("docs/") else path


def _page_of(target: str) -> str:
    return _card_page(target) if target in CARDS else f"reference/files/{target}.md"


def _card_page(card: str) -> str:
    return f"reference/models/{card.partition('/')[0]}.md"


def _shown(target: str) -> str:
    """A page with a file's text, or with the texts of a folder's files."""
    path = ROOT / target
    shown = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    parts = [f"# {target}"]
    for one in shown:
        heading = [f"## {one.name}"] if path.is_dir() else []
        parts += [*heading, f"````{one.suffix[1:]}\n{one.read_text(encoding='utf-8').rstrip()}\n````"]
    return "\n\n".join(parts) + "\n"


def _room(room: str) -> str:
    """A page that names every module of a room; mkdocstrings puts their docstrings in.

    Of `tools` only automatic mode and the batch runs: its commands have a page of their own.
    """
    parts = [f"# {room}"]
    for path in sorted((ROOT / room).rglob("*.py")):
        package = path.name == "__init__.py"  # gives out what its modules hold: their docstrings are enough
        name = ".".join((path.parent if package else path.with_suffix("")).relative_to(ROOT).parts)
        if room != "tools" or name.startswith(SHOWN_OF_TOOLS):
            options = {"members": False, "show_root_heading": name != room} if package else {}
            parts.append(f"::: {name}\n    options: {json.dumps(options)}")
    return "\n\n".join(parts) + "\n"


def _commands() -> str:
    """What every command says of itself with --help."""
    from typer.main import get_command

    from tools.cli import app

    def pages(command: Any, context: Any) -> Iterator[str]:
        if hasattr(command, "list_commands"):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                yield from pages(child, child.context_class(child, info_name=name, parent=context))
            return
        yield f"## {context.command_path}\n\n````text\n{command.get_help(context).rstrip()}\n````"

    top: Any = get_command(app)
    context = top.context_class(top, info_name="keyslice", max_content_width=80, terminal_width=80)
    intro = "# Commands\n\nWhat each command says with `--help`. Exit status 0: all done, 1: some cases failed, 2: bad"
    return "\n\n".join([f"{intro} input, told in one line.", *pages(top, context)]) + "\n"
