"""The house's docstrings as Markdown, for mkdocstrings.

They are plain text: paragraphs; rows `name   meaning`, whose continuation is indented; and indented equations.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROW = re.compile(r"(?P<name>\S.*?) {2,}(?P<meaning>\S.*)")
CODE = re.compile(r"(`[^`]*`)")


def rows_of(docstring: str) -> dict[str, str]:
    """Name -> meaning, of all rows; a row of several names (`height, width   pixels`) counts for each."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in docstring.splitlines():
        row = ROW.fullmatch(line)
        if row:
            names = [name.strip(" `") for name in row["name"].split(",")]
            shared = f"{', '.join(names)}: " if len(names) > 1 else ""
            found |= dict.fromkeys(names, shared + row["meaning"])
        elif names and line.startswith(" "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            names = []
    return found


def as_markdown(docstring: str) -> str:
    """Rows become a list, indented lines a block of code, and `<` no HTML."""
    written: list[str] = []
    state = "text"
    for line in docstring.splitlines():
        row = ROW.fullmatch(line)
        kind = _kind(line, row is not None, state)
        if state == "code" and kind != "code":
            written += ["```", ""]
        if kind == "code" and state != "code":
            written += ["", "```text"]
        if kind != state and kind in ("text", "rows") and state != "code":
            written.append("")
        if row and kind == "rows":
            written.append(f"* **{_escaped(row['name'])}**: {_escaped(row['meaning'])}")
        elif kind == "rows":
            written.append(f"  {_escaped(line.strip())}")
        else:
            written.append(line[4:] if kind == "code" else _escaped(line))
        state = kind
    return "\n".join([*written, "```"] if state == "code" else written)


def _kind(line: str, is_row: bool, state: str) -> str:
    if not line.strip():
        return "code" if state == "code" else "text"
    if line.startswith("    ") and state != "rows":
        return "code"
    return "rows" if is_row or (state == "rows" and line.startswith(" ")) else "text"


def _escaped(text: str) -> str:
    """Text without HTML and without reference links; what stands in backticks stays."""
    parts = CODE.split(text)
    plain = [re.sub(r"([\[\]*_])", r"\\\1", part.replace("&", "&amp;").replace("<", "&lt;")) for part in parts[::2]]
    return "".join(p for pair in zip(plain, [*parts[1::2], ""], strict=True) for p in pair)


class PlainDocstrings(Extension):
    """Turns every docstring that is read."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
