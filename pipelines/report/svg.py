"""SVG builder: elements with escaped attributes and texts."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape


def tag(element: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element.

    Args:
        element: its name.
        children: elements, and texts, which are escaped.
        attributes: `stroke_width` is written stroke-width and `class_` class; None is left out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{element}{written}>{inner}</{element}>" if inner else f"<{element}{written}/>")  # noqa: S704


def picture(width: float, height: float, children: Iterable[str], *, title: str, css: str = "chart") -> Markup:
    """A picture that scales with the page, with `title` as its text alternative."""
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        role="img",
        aria_label=title,
        class_=css,
        style=f"--natural-width:{coordinate(width)}px",
    )


def coordinate(value: float) -> str:
    """Formats a coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def line_path(points: Iterable[tuple[float, float]]) -> str:
    """The `d` of a path through `points`, in pixels."""
    return "M" + "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else coordinate(value)
