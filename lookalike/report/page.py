"""One self-contained HTML page: style, pictures and drawings are inside, so that it can be mailed or kept."""

from __future__ import annotations

import base64
import html
from pathlib import Path

from lookalike.core.files import atomic_file

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5d6778; --line: #dfe3ea;
  --card: #fff; --page: #f5f6f8; --right: #15803d; --wrong: #c2410c; --main: #2563eb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #333b49;
  --card: #1d232d; --page: #14181f; --right: #4ade80; --wrong: #fb923c; --main: #60a5fa; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 940px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 30px; margin: 0 0 4px; letter-spacing: -.01em; } h2 { font-size: 19px; margin: 38px 0 10px; }
p { max-width: 68ch; } .soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px;
  overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 7px 12px 7px 0; }
th { color: var(--soft); font-weight: 500; } tr + tr td { border-top: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; } .strong { font-weight: 650; }
.sheet { display: grid; grid-template-columns: 116px repeat(5, 1fr); gap: 8px 10px; min-width: 640px; }
.sheet figure { margin: 0; } .sheet img { width: 100%; max-width: 116px; aspect-ratio: 1; object-fit: cover;
  border-radius: 8px; border: 3px solid transparent; display: block; image-rendering: auto; }
.sheet .right img { border-color: var(--right); } .sheet .wrong img { border-color: var(--wrong); }
figcaption { font-size: 12px; line-height: 1.3; color: var(--soft); overflow-wrap: anywhere; }
.right figcaption::before { content: "✓ "; color: var(--right); }
.wrong figcaption::before { content: "✗ "; color: var(--wrong); }
pre { background: var(--page); border-radius: 8px; padding: 12px 14px; overflow-x: auto;
  font: 13.5px/1.5 ui-monospace, monospace; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
"""


def write_page(path: Path, title: str, parts: list[str], *, style: str = "", script: str = "") -> None:
    """Write a page out of parts of HTML, with further style and a script where there are any."""
    scripts = f"<script>{script}</script>\n" if script else ""
    with atomic_file(path, "w") as file:
        file.write(
            "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"<title>{escaped(title)}</title><style>{_STYLE}{style}</style></head><body><main>\n"
            + "\n".join(parts)
            + f"\n</main>{scripts}</body></html>\n"
        )


def escaped(text: str) -> str:
    """Text as HTML, also between quotes; what is no character (a path in another encoding) is a `?`."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def picture_source(path: str | Path) -> str:
    """A picture file as a `data:` address."""
    path = Path(path)
    kind = {".png": "png", ".webp": "webp", ".gif": "gif"}.get(path.suffix.lower(), "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def table(head: list[str], rows: list[list[str]], strong: int | None = None) -> str:
    """A table; the first column is text, the others are numbers; one row may stand out."""
    cells = "".join(f"<th{_number(i)}>{html.escape(cell)}</th>" for i, cell in enumerate(head))
    lines = [f"<tr>{cells}</tr>"]
    for position, row in enumerate(rows):
        style = " class='strong'" if position == strong else ""
        cells = "".join(f"<td{_number(i)}>{html.escape(cell)}</td>" for i, cell in enumerate(row))
        lines.append(f"<tr{style}>{cells}</tr>")
    return f"<div class='card'><table>{''.join(lines)}</table></div>"


def _number(column: int) -> str:
    return " class='number'" if column else ""
