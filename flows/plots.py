"""What does a replay's report look like as pictures? Each one twice: for light and for dark.

Colours are those of the live page, so that an outcome has the same one everywhere.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from flows.errors import BadSettings


@dataclass(frozen=True)
class Theme:
    """Ink on paper, by day or by night."""

    ground: str
    ink: str
    soft: str
    line: str
    first: str
    second: str
    outcomes: Mapping[str, str]


LIGHT = Theme(
    ground="#ffffff",
    ink="#15252b",
    soft="#566870",
    line="#d4dde0",
    first="#0f5c6e",
    second="#c2384a",
    outcomes={
        "approve": "#1c8a6b",
        "challenge": "#b06f00",
        "review": "#6a57c2",
        "decline": "#c2384a",
    },
)
DARK = Theme(
    ground="#162126",
    ink="#e7eff1",
    soft="#9db0b7",
    line="#2b3b42",
    first="#5fc1d6",
    second="#f07c8a",
    outcomes={
        "approve": "#4cc29d",
        "challenge": "#e5a942",
        "review": "#a594f2",
        "decline": "#f07c8a",
    },
)


def _weeks(axes: Any, whole: Mapping[str, Any], theme: Theme) -> bool:
    weeks = whole["weeks"]
    if not weeks:
        return False
    starts = [week["start"] for week in weeks]
    lines = (
        ("ROC AUC", "roc_auc", theme.soft),
        ("average precision", "average_precision", theme.first),
    )
    for label, name, colour in lines:
        values = [float("nan") if week[name] is None else week[name] for week in weeks]
        places = range(len(starts))
        axes.plot(places, values, marker="o", markersize=4, color=colour, label=label)
    axes.set_ylim(0, 1.02)
    every = -(-len(starts) // 7)
    axes.set_xticks(range(0, len(starts), every), [start[5:] for start in starts[::every]])
    axes.set_xlabel("week from")
    _legend(axes, theme)
    return True


def _scores(axes: Any, whole: Mapping[str, Any], theme: Theme) -> bool:
    score = whole["score"]
    if not any(score["honest"]) and not any(score["fraud"]):
        return False
    step = 1000 / len(score["honest"])
    edges = [place * step for place in range(len(score["honest"]))]
    for name, colour in (("honest", theme.first), ("fraud", theme.second)):
        axes.bar(edges, score[name], width=step, align="edge", color=colour, alpha=0.65, label=name)
    axes.set_yscale("log")
    _plain_log(axes.yaxis)
    axes.set_xlim(0, 1000)
    axes.set_xlabel("score")
    axes.set_ylabel("payments")
    _legend(axes, theme)
    return True


def _days(axes: Any, whole: Mapping[str, Any], theme: Theme) -> bool:
    from matplotlib.ticker import MaxNLocator

    days = whole["days"]
    if not days:
        return False
    places = range(len(days))
    for name, colour in theme.outcomes.items():
        counts = [day.get(name, 0) for day in days]
        if any(counts):
            marks = {"marker": "o", "markersize": 3} if len(days) < 40 else {}
            shown = [count or float("nan") for count in counts]
            axes.plot(places, shown, color=colour, label=name, linewidth=1.5, **marks)
    axes.set_yscale("log")
    _plain_log(axes.yaxis)
    axes.set_ylim(bottom=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.xaxis.set_major_formatter(
        lambda at, _: days[int(at)]["day"][5:] if 0 <= at < len(days) else ""
    )
    axes.set_ylabel("events a day")
    _legend(axes, theme, columns=4)
    return True


def _recalls(axes: Any, whole: Mapping[str, Any], theme: Theme) -> bool:
    rows = whole["scenarios"]
    if not rows:
        return False
    names = list(rows)[::-1]
    bars = (
        ("in the top 0.5 % by score", "recall_at_top", theme.soft),
        ("score asks or stops", "recall_at_challenge", theme.first),
        ("asked or stopped, rules too", "stopped", theme.outcomes["approve"]),
    )
    for order, (label, name, colour) in enumerate(bars):
        at = [place + (1 - order) * 0.26 for place in range(len(names))]
        values = [rows[scenario][name] or 0.0 for scenario in names]
        axes.barh(at, values, height=0.22, color=colour, label=label)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the scenario's frauds")
    axes.grid(visible=False, axis="y")
    _legend(axes, theme, columns=1)
    return True


def _stages(axes: Any, whole: Mapping[str, Any], theme: Theme) -> bool:
    rows = whole["stages_us"]
    if not rows:
        return False
    names = list(rows)[::-1]
    for offset, name, colour in ((0.19, "p50", theme.first), (-0.19, "p99", theme.soft)):
        at = [place + offset for place in range(len(names))]
        axes.barh(at, [rows[stage][name] for stage in names], height=0.34, color=colour, label=name)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("µs an event")
    axes.grid(visible=False, axis="y")
    _legend(axes, theme)
    return True


Draw = Callable[[Any, Mapping[str, Any], Theme], bool]
#: Each plot: its file's name, what it shows, what draws it (or says that there is nothing).
PLOTS: tuple[tuple[str, str, Draw], ...] = (
    ("quality", "Quality by week", _weeks),
    ("recall", "Recall by scenario", _recalls),
    ("scores", "Scores, honest and fraud (log scale)", _scores),
    ("outcomes", "Outcomes a day (log scale)", _days),
    ("stages", "Time by stage", _stages),
)


def _plain_log(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(axes: Any, theme: Theme, columns: int = 2) -> None:
    axes.legend(
        frameon=False,
        labelcolor=theme.ink,
        fontsize=9,
        ncols=columns,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        borderaxespad=0.2,
        handlelength=1.4,
    )


def drawn(whole: Mapping[str, Any], theme: Theme) -> dict[str, bytes]:
    """Each plot that there is something for, as PNG; needs matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise BadSettings(
            "replay --out: the report's plots need matplotlib, which is not installed: "
            "pip install 'ringback[replay]', or leave --out away"
        ) from None
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    pictures: dict[str, bytes] = {}
    for name, _, draw in PLOTS:
        height = 2.9
        if name == "recall":
            height = max(height, 1.2 + 0.5 * len(whole["scenarios"]))
        figure = Figure(figsize=(5.4, height), facecolor=theme.ground, layout="constrained")
        axes = figure.add_subplot(facecolor=theme.ground)
        axes.grid(visible=True, color=theme.line, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(which="both", colors=theme.soft, labelsize=9, length=0)
        axes.xaxis.label.set_color(theme.soft)
        axes.yaxis.label.set_color(theme.soft)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if not draw(axes, whole, theme):
            continue
        out = BytesIO()
        FigureCanvasAgg(figure)
        figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
        pictures[name] = out.getvalue()
    return pictures
