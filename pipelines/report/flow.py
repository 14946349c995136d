"""Pipeline diagram: its steps, their results, and the gate's decision, if there is a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from headrace.pipelines.report.svg import picture, tag

_BOX, _TOP, _HEIGHT = 158.0, 34.0, 92.0
_LEFTS = (2.0, 196.0, 390.0, 764.0, 960.0)
_GATE_X, _GATE_HALF = 656.0, 56.0
_MIDDLE = _TOP + _HEIGHT / 2
_ICONS = {"succeeded": "check", "cached": "cached", "failed": "cross", "skipped": "skipped"}


@dataclass(frozen=True)
class Box:
    """A step in the diagram.

    Args:
        name: of the step.
        status: succeeded, cached, failed or skipped.
        time: duration, as text.
        fact: result, in a few words.
    """

    name: str
    status: str
    time: str
    fact: str


def flow(boxes: Sequence[Box], blessed: bool | None, gate: str, sides: tuple[str, str] = ("yes", "no")) -> Markup:
    """The diagram of preprocess, train, evaluate, the gate, register and deploy.

    Args:
        boxes: the five steps.
        blessed: the gate's decision; None without a decision.
        gate: the gate's condition, in a few words.
        sides: labels of the two branches.
    """
    parts: list[Markup] = []
    for before, after in ((0, 1), (1, 2)):
        parts.append(_arrow(_LEFTS[before] + _BOX, _LEFTS[after], ran=boxes[after].status != "skipped"))
    parts.append(_arrow(_LEFTS[2] + _BOX, _GATE_X - _GATE_HALF, ran=blessed is not None))
    parts.append(_arrow(_GATE_X + _GATE_HALF, _LEFTS[3], ran=blessed is True))
    parts.append(_arrow(_LEFTS[3] + _BOX, _LEFTS[4], ran=boxes[4].status != "skipped"))
    parts += _gate(blessed, gate, sides)
    parts += [_box(left, box) for left, box in zip(_LEFTS, boxes, strict=False)]
    statuses = ", ".join(f"{box.name} {box.status}" for box in boxes)
    decision = {True: "The gate blessed the model.", False: "The gate refused the model.", None: ""}[blessed]
    return picture(1120, 190, parts, title=f"The pipeline: {statuses}. {decision}".strip(), css="chart flow")


def chain(boxes: Sequence[Box]) -> Markup:
    """The diagram of consecutive steps without a gate."""
    apart = (_LEFTS[-1] - _LEFTS[0]) / max(len(boxes) - 1, 1)
    lefts = [_LEFTS[0] + place * apart for place in range(len(boxes))]
    parts = [
        _arrow(before + _BOX, after, ran=box.status != "skipped")
        for before, after, box in zip(lefts, lefts[1:], boxes[1:], strict=False)
    ]
    parts += [_box(left, box) for left, box in zip(lefts, boxes, strict=True)]
    statuses = ", ".join(f"{box.name} {box.status}" for box in boxes)
    return picture(1120, 150, parts, title=f"The pipeline: {statuses}.", css="chart flow")


def _box(left: float, box: Box) -> Markup:
    icon = _ICONS.get(box.status, "skipped")
    return tag(
        "g",
        tag("rect", x=left, y=_TOP, width=_BOX, height=_HEIGHT, rx=10, class_="box"),
        tag("use", href=f"#icon-{icon}", x=left + 14, y=_TOP + 13, width=18, height=18, class_="icon"),
        tag("text", box.name, x=left + 40, y=_TOP + 27, class_="step-name"),
        tag("text", box.time, x=left + 14, y=_TOP + 54, class_="step-time"),
        tag("text", _clipped(box.fact, 24), x=left + 14, y=_TOP + 75, class_="step-fact"),
        class_=f"step {box.status}",
    )


def _gate(blessed: bool | None, gate: str, sides: tuple[str, str]) -> list[Markup]:
    state = {True: "passed", False: "refused", None: "undecided"}[blessed]
    bottom = _MIDDLE + _GATE_HALF
    corners = (
        (_GATE_X - _GATE_HALF, _MIDDLE),
        (_GATE_X, _MIDDLE - _GATE_HALF),
        (_GATE_X + _GATE_HALF, _MIDDLE),
        (_GATE_X, bottom),
    )
    refused = blessed is False
    return [
        tag("polygon", points=" ".join(f"{x},{y}" for x, y in corners), class_=f"gate {state}"),
        tag("text", "gate", x=_GATE_X, y=_MIDDLE + 5, class_="gate-name", text_anchor="middle"),
        tag("text", gate, x=_GATE_X, y=14, class_="step-fact", text_anchor="middle"),
        tag(
            "text",
            sides[0],
            x=_GATE_X + _GATE_HALF + 22,
            y=_MIDDLE - 9,
            class_=_side(blessed is True),
            text_anchor="middle",
        ),
        tag("text", sides[1], x=_GATE_X + 12, y=bottom + 17, class_=_side(refused)),
        tag("line", x1=_GATE_X, x2=_GATE_X, y1=bottom, y2=bottom + 22, class_="arrow" if refused else "arrow unused"),
        _head(_GATE_X, bottom + 28, down=True, ran=refused),
        tag(
            "text",
            "refused: nothing is deployed",
            x=_GATE_X,
            y=bottom + 45,
            class_="step-fact strong" if refused else "step-fact",
            text_anchor="middle",
        ),
    ]


def _side(taken: bool) -> str:
    return "side taken" if taken else "side"


def _arrow(start: float, end: float, *, ran: bool) -> Markup:
    line = tag("line", x1=start, x2=end - 7, y1=_MIDDLE, y2=_MIDDLE, class_="arrow" if ran else "arrow unused")
    return line + _head(end - 1, _MIDDLE, ran=ran)


def _head(x: float, y: float, *, ran: bool, down: bool = False) -> Markup:
    shape = (
        f"M{x - 4.5} {y - 7}L{x} {y}L{x + 4.5} {y - 7}Z" if down else f"M{x - 7} {y - 4.5}L{x} {y}L{x - 7} {y + 4.5}Z"
    )
    return tag("path", d=shape, class_="head" if ran else "head unused")


def _clipped(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"
