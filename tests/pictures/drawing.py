"""SVG by the standard library: shapes, words, and one style for light and dark.

A picture has its own paper, so that it can be read on a page of either scheme. Patterns and words
say what colours say.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

STYLE = """
svg { --paper: #ffffff; --ink: #1b1f24; --faint: #59636e; --line: #8b949e; --soft: #eef1f4;
  --good: #cfe8d5; --warn: #fbe7b2; --bad: #f6d0d0; --main: #1f6f8b;
  font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
@media (prefers-color-scheme: dark) {
  svg { --paper: #15181c; --ink: #e6e9ec; --faint: #a3acb5; --line: #6e7781; --soft: #23282e;
    --good: #1d4429; --warn: #5a4410; --bad: #5b2326; --main: #67b7d1 }
}
text { fill: var(--ink) }
.paper { fill: var(--paper); stroke: var(--line) }
.soft { fill: var(--soft); stroke: var(--line) }
.good { fill: var(--good); stroke: var(--line) }
.warn { fill: var(--warn); stroke: var(--line) }
.bad { fill: var(--bad); stroke: var(--line) }
.plain { fill: none; stroke: var(--line) }
.line { fill: none; stroke: var(--line) }
.way { fill: none; stroke: var(--main); stroke-width: 2 }
.stop { fill: var(--main); stroke: var(--paper); stroke-width: 2 }
.hatch { fill: url(#hatch) }
.dots { fill: url(#dots) }
.mark { fill: none; stroke: var(--faint) }
.point { fill: var(--faint) }
.head { font-weight: 600 }
.title { font-size: 16px; font-weight: 600 }
.faint { fill: var(--faint); font-size: 12px }
.code { font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; font-size: 12px }
"""


class Picture:
    """A picture under way. Lengths are in pixels, from its upper left corner."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        """Begin one of that size; ``description`` says what it shows to those who do not see it."""
        self._root = Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {width} {height}",
                "width": str(width),
                "height": str(height),
                "role": "img",
                "aria-labelledby": "title description",
            },
        )
        self._add("title", title, id="title")
        self._add("desc", description, id="description")
        self._add("style", STYLE)
        self._add_patterns()
        self.box(0.5, 0.5, width - 1, height - 1, "paper", rx=8)
        self.words(20, 32, title, "title")

    def box(
        self, x: float, y: float, width: float, height: float, kind: str, *, rx: float = 0
    ) -> None:
        """Draw a rectangle; ``kind`` is a class of the style, ``rx`` rounds its corners."""
        self._add("rect", x=x, y=y, width=width, height=height, rx=rx, class_=kind)

    def line(self, points: list[tuple[float, float]], kind: str = "line") -> None:
        """Draw a line through the ``points``."""
        self._add("polyline", points=" ".join(f"{x:g},{y:g}" for x, y in points), class_=kind)

    def stop(self, x: float, y: float) -> None:
        """Draw a dot on a way."""
        self._add("circle", cx=x, cy=y, r=6, class_="stop")

    def words(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Write ``words`` from, up to, or around ``x``, as ``anchor`` says; ``y`` is their foot."""
        self._add("text", words, x=x, y=y, class_=kind or None, text_anchor=anchor)

    def render(self) -> str:
        """Return the whole as text."""
        indent(self._root)
        return tostring(self._root, encoding="unicode") + "\n"

    def _add_patterns(self) -> None:
        definitions = SubElement(self._root, "defs")
        for name, size in (("hatch", 8), ("dots", 7)):
            pattern = SubElement(
                definitions,
                "pattern",
                {"id": name, "width": f"{size}", "height": f"{size}"},
                patternUnits="userSpaceOnUse",
            )
            if name == "hatch":
                SubElement(pattern, "path", {"d": "M-2 2l4-4M0 8l8-8M6 10l4-4", "class": "mark"})
            else:
                SubElement(pattern, "circle", {"cx": "2", "cy": "2", "r": "1", "class": "point"})

    def _add(self, tag: str, words: str | None = None, **attributes: object) -> None:
        named = {
            name.rstrip("_").replace("_", "-"): f"{value:g}" if isinstance(value, float) else value
            for name, value in attributes.items()
            if value is not None
        }
        SubElement(
            self._root, tag, {name: str(value) for name, value in named.items()}
        ).text = words
