"""How does a person read a backtest? One page that needs nothing but itself."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ground: #eef2f3; --sheet: #fff; --ink: #15252b;
  --soft: #566870; --line: #d4dde0; --today: #566870; --proposed: #b06f00; }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1518; --sheet: #162126; --ink: #e7eff1;
  --soft: #9db0b7; --line: #2b3b42; --today: #9db0b7; --proposed: #e5a942; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui,
  "Noto Sans", "Noto Sans CJK SC", sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 0 0 10px; }
p, .soft { color: var(--soft); }
section { background: var(--sheet); border: 1px solid var(--line); border-radius: 12px;
  padding: 14px 16px; margin: 16px 0; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
th { color: var(--soft); font-weight: 500; }
svg { display: block; width: 100%; height: auto; }
li { margin: 4px 0; overflow-wrap: anywhere; }
.today { fill: var(--today); } .proposed { fill: var(--proposed); }
"""


def page(whole: Mapping[str, Any], title: str) -> str:
    """The report as HTML."""
    rules = "".join(_rule(name, row) for name, row in whole["rules"].items())
    inside = (
        f"<h1>{escape(title)}</h1><p>{whole['payments']:,} payments, {whole['labelled']:,} of them "
        f"with a known truth, from {whole['from']} to {whole['to']}. Nothing was asked or written."
        f"</p>{rules}{_sides(whole)}{_friction(whole)}{_changed(whole)}{_examples(whole)}"
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><main>{inside}</main></html>"
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    top = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_said(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _said(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return str(value)


def _rule(name: str, row: Mapping[str, Any]) -> str:
    matrix = _table(
        ("", "fraud", "honest"),
        (
            ("hit", row["true_positive"], row["false_positive"]),
            ("not hit", row["false_negative"], row["true_negative"]),
        ),
    )
    told = ", ".join(f"{key} {_said(row[key])}" for key in ("precision", "recall", "f1"))
    most = max((step["events"] for step in row["funnel"]), default=0) or 1
    bars = [(step["step"], step["events"], most, "proposed") for step in row["funnel"]]
    return (
        f"<section><h2>{escape(name)}: {row['hits']:,} hits</h2>{matrix}<p>{told}</p>"
        f"{_bars(bars)}</section>"
    )


def _bars(rows: Iterable[tuple[str, float, float, str]]) -> str:
    """Horizontal bars: words, count, the count of a whole width, whose colour."""
    drawn, y = [], 0
    for words, count, most, side in rows:
        width = 520 * count / most if most else 0
        drawn.append(
            f'<rect class="{side}" x="0" y="{y}" width="{width:.1f}" height="16" rx="3"/>'
            f'<text x="{width + 8:.1f}" y="{y + 13}" font-size="13" fill="currentColor">'
            f"{count:,} {escape(words)}</text>"
        )
        y += 24
    return f'<svg viewBox="0 0 960 {max(y, 1)}" role="img">{"".join(drawn)}</svg>'


_ROWS = (
    ("precision of what is stopped", "precision"),
    ("recall", "recall"),
    ("F1", "f1"),
    ("frauds stopped", "frauds_stopped"),
    ("fraud stopped", "fraud_stopped"),
    ("honest payments stopped", "honest_payments_stopped"),
    ("honest money stopped", "honest_stopped"),
    ("questions", "questions"),
    ("customers asked", "customers_asked"),
    ("asked twice within 24 h", "customers_asked_twice_in_a_day"),
    ("reviews", "reviews"),
    ("officer minutes", "officer_minutes"),
)


def _sides(whole: Mapping[str, Any]) -> str:
    today, proposed = (whole["sides"][name] for name in ("today", "proposed"))
    rows = [(words, today[name], proposed[name]) for words, name in _ROWS]
    money = whole["money"]
    status = "; ".join(f"{state} {amount}" for state, amount in money["hit_by_status"].items())
    return (
        f"<section><h2>Today's rules, and with the proposed</h2>"
        f"{_table(('', 'today', 'proposed'), rows)}<p>Of what was hit, in {money['currency']}: "
        f"fraud {money['fraud_hit']}, honest {money['honest_hit']}. By what the bank did with it: "
        f"{escape(status or 'unknown')}. Of all that would be stopped: today "
        f"{escape(_by_status(today))}; proposed {escape(_by_status(proposed))}.</p></section>"
    )


def _by_status(side: Mapping[str, Any]) -> str:
    rows = side["stopped_by_status"].items()
    return ", ".join(f"{state} {amount}" for state, amount in rows) or "nothing"


_PARTS = (("by_day", "a day"), ("by_segment", "a customer segment"), ("by_channel", "a channel"))
_COLUMNS = (
    ("questions", "questions"),
    ("customers asked", "customers_asked"),
    ("asked twice", "customers_asked_twice_in_a_day"),
    ("officer minutes", "officer_minutes"),
)


def _friction(whole: Mapping[str, Any]) -> str:
    """Whom it bothers: a plot and a table for each day, segment and channel; the last 31 days."""
    told = ""
    today, proposed = (whole["sides"][name] for name in ("today", "proposed"))
    for key, words in _PARTS:
        parts = sorted({*today[key], *proposed[key]})[-31:]
        if not parts:
            told += f"<section><h2>Friction {words}</h2><p>Nobody would be bothered.</p></section>"
            continue
        sides = (("today", today[key]), ("proposed", proposed[key]))
        asked = {
            (part, name): rows.get(part, {}).get("questions", 0)
            for part in parts
            for name, rows in sides
        }
        most = max([*asked.values(), 1])
        bars = [(f"{part}, {name}", count, most, name) for (part, name), count in asked.items()]
        head = ("", *(f"{column}, {name}" for column, _ in _COLUMNS for name, _ in sides))
        table = [
            (part, *(rows.get(part, {}).get(of, 0) for _, of in _COLUMNS for _, rows in sides))
            for part in parts
        ]
        told += (
            f"<section><h2>Friction {words}</h2><p>Questions:</p>{_bars(bars)}"
            f"{_table(head, table)}</section>"
        )
    return told


def _changed(whole: Mapping[str, Any]) -> str:
    rows = whole["changed"].items()
    inside = _table(("from -> to", "events"), rows) if rows else "<p>No decision would change.</p>"
    return f"<section><h2>Decisions that would be others</h2>{inside}</section>"


def _examples(whole: Mapping[str, Any]) -> str:
    told = []
    for cell, rows in whole["examples"].items():
        lines = "".join(
            f"<li>{escape(row['event'])} <span class=soft>{escape(row['time'])}</span><br>"
            f"{escape('; '.join(row['why']) or 'nothing to tell')}</li>"
            for row in rows
        )
        name = cell.replace("_", " ")
        told.append(f"<h2>{name}</h2><ul>{lines or '<li>none</li>'}</ul>")
    return f"<section>{''.join(told)}</section>"
