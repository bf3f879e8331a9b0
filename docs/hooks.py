"""Pages that are written from the code at build time, so that they cannot go stale.

reference/cli.md      `--help` of every command, from the application itself
reference/config.md   every config key with type, default and meaning, from the pydantic models
reference/api/*.md    the modules of each page for mkdocstrings
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import typer
from docstrings import as_markdown, rows_of
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pymdownx.highlight import Highlight

from neuroseg.cli import app
from neuroseg.config import schema

ROOT = Path(__file__).parent.parent
WIDTH = 100
# page -> (title, modules; `package.*` stands for all modules of a package)
API: dict[str, tuple[str, tuple[str, ...]]] = {
    "compiler": (
        "The compiler",
        ("export.pipeline", "export.dataflow", "export.graph", "export.spec", "export.bundle"),
    ),
    "passes": ("Passes", ("export.passes.*",)),
    "running": (
        "Running and comparing",
        ("export.simulate", "export.execute.*", "export.lava.supervise", "export.parity.*", "export.verify"),
    ),
    "mapping": ("Mapping", ("export.mapping.*",)),
    "reports": ("Reports", ("export.report.*",)),
    "training": (
        "Training",
        ("neuroseg.config.load", "neuroseg.data.*", "neuroseg.models.*", "neuroseg.train.*", "neuroseg.metrics.*"),
    ),
    "hardware": ("Hardware facts", ("hw_configs", "hw_configs.*")),
    "errors": ("Errors", ("export.errors",)),
}


def on_startup(**_: Any) -> None:
    """Let mkdocstrings 1.0 work with pymdown-extensions 12 (called by mkdocs).

    mkdocstrings makes a Highlight without the Markdown instance that 12 asks for, and that only titles of code need.
    """
    if inspect.signature(Highlight).parameters["md"].default is inspect.Parameter.empty:
        Highlight.__init__.__defaults__ = (None, *Highlight.__init__.__defaults__)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the written pages (called by mkdocs)."""
    pages = {"reference/cli.md": cli_page(), "reference/config.md": config_page()}
    pages |= {f"reference/api/{name}.md": api_page(*page) for name, page in API.items()}
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def cli_page() -> str:
    """Markdown with `--help` of every command, in the order of use."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group | typer.core.TyperGroup)
    top = typer.Context(group, info_name="neuroseg", terminal_width=WIDTH, max_content_width=WIDTH)
    parts = [
        "# Commands",
        "Exit codes: 0 fine; 1 a failure, a mismatch or a network that does not fit; 2 wrong usage. Tables and progress go to "
        "standard error, `--json` prints one line of JSON on standard output.",
        _help("neuroseg", group.get_help(top)),
    ]
    parts += _helps("neuroseg", group, top)
    return "\n\n".join(parts) + "\n"


def _helps(prefix: str, group: Any, context: Any) -> Iterator[str]:
    """Help of every command of a group, and of the groups in it."""
    for name in group.list_commands(context):
        command, title = group.commands[name], f"{prefix} {name}"
        inner = typer.Context(command, info_name=title, terminal_width=WIDTH, max_content_width=WIDTH)
        yield _help(title, command.get_help(inner))
        if hasattr(command, "commands"):
            yield from _helps(title, command, inner)


def _help(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text.strip()}\n```"


def config_page() -> str:
    """Markdown with every key of every section."""
    parts = [
        "# Config",
        "A config is a YAML file, or the name of a shipped one. On the command line `section.key=value` changes a key; values "
        "are YAML. An unknown key or a value out of range is refused by name. Every key has a default.",
        f"Shipped configs: {_listed('*.yaml')}. Shipped `train` sections, for `train=NAME`: {_listed('schedules/*.yaml')}.",
    ]
    parts += ["\n".join(_section(prefix, section)) for prefix, section in sections(schema.Config)]
    return "\n\n".join(parts) + "\n"


def _listed(pattern: str) -> str:
    folder = ROOT / "neuroseg" / "configs"
    return ", ".join(f"`{path.stem}`" for path in sorted(folder.glob(pattern)))


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """(dotted key, model) of a config model and of all sections within it."""
    yield prefix, model
    for name, info in model.model_fields.items():
        for section in _models_in(info.annotation):
            yield from sections(section, f"{prefix}.{name}" if prefix else name)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _title(prefix: str, section: type[BaseModel]) -> str:
    names = get_args(section.model_fields["name"].annotation) if prefix and "name" in section.model_fields else ()
    return (prefix or "Top level") + (f" with name: {names[0]}" if names else "")


def _section(prefix: str, section: type[BaseModel]) -> Iterator[str]:
    docstring = inspect.getdoc(section) or ""
    rows = rows_of(docstring)
    intro = docstring.split("\n\n")[0]
    yield f"## {_title(prefix, section)}\n\n{as_markdown(intro)}\n"
    yield "| key | type and limits | default | meaning |\n| --- | --- | --- | --- |"
    for name, info in section.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        kind = _kind(section.model_json_schema()["properties"][name])
        default = "required" if info.is_required() else _default(info.get_default(call_default_factory=True))
        meaning = as_markdown(rows.get(name, "")).replace("|", "\\|")
        yield f"| `{key}` | {kind} | {default} | {meaning} |"


def _kind(field: dict[str, Any]) -> str:
    """The JSON schema of a field in a few words."""
    if "anyOf" in field or "oneOf" in field:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in field.get("anyOf") or field["oneOf"]))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "$ref" in field:
        return "a section, see below"
    if field.get("type") == "array":
        item = field.get("items") or field["prefixItems"][0]
        count = field.get("maxItems")
        return f"list of {f'{count} times ' if count else ''}{_kind(item)}"
    names = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true or false",
        "null": "null",
    }
    return f"{names[field['type']]} {_limits(field)}".strip()


def _limits(field: dict[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "&lt;=", "exclusiveMaximum": "&lt;"}
    return ", ".join(f"{sign} {field[key]:g}" for key, sign in signs.items() if field.get(key, 2**53) < 2**53)


def _default(value: Any) -> str:
    if isinstance(value, BaseModel):
        changed = value.model_dump(exclude_defaults=True)
        name = type(value).__name__.removesuffix("Config").lower()
        return f"the defaults of {name}" + (f", with `{changed}`" if changed else "")
    if isinstance(value, tuple):
        value = list(value)
    return "`null`" if value is None else f"`{value}`"


def api_page(title: str, modules: tuple[str, ...]) -> str:
    """Markdown that has mkdocstrings write the reference of modules."""
    named = [name for entry in modules for name in _expanded(entry)]
    return "\n\n".join([f"# {title}", *(f"::: {name}" for name in named)]) + "\n"


def _expanded(entry: str) -> list[str]:
    if not entry.endswith(".*"):
        return [entry]
    package = entry.removesuffix(".*")
    folder = ROOT.joinpath(*package.split("."))
    return [f"{package}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
