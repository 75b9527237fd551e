"""How does a person read a replay's report? One page that needs nothing but itself.

No script and nothing from elsewhere; pictures lie inside, for light and for dark.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from flows.plots import PLOTS

_STYLE = """
:root { color-scheme: light dark;
  --ground: #eef2f3; --sheet: #fff; --ink: #15252b; --soft: #566870; --line: #d4dde0;
  --own: #0f5c6e; --approve: #1c8a6b; --challenge: #b06f00; --review: #6a57c2;
  --decline: #c2384a; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #0d1518; --sheet: #162126; --ink: #e7eff1; --soft: #9db0b7; --line: #2b3b42;
  --own: #5fc1d6; --approve: #4cc29d; --challenge: #e5a942; --review: #a594f2;
  --decline: #f07c8a; } }
* { box-sizing: border-box; }
html { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "Noto Sans CJK SC",
  sans-serif; }
body { margin: 0; background: var(--ground); color: var(--ink); }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 0 0 10px; }
header p, .note { color: var(--soft); margin: 4px 0 0; }
.note { font-size: .87rem; max-width: 46rem; margin-top: 10px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 20px 0 16px; }
.tiles div, section { background: var(--sheet); border: 1px solid var(--line);
  border-radius: 12px; padding: 14px 16px; }
.tiles b { display: block; font-size: 1.55rem; line-height: 1.2; font-weight: 650;
  font-variant-numeric: tabular-nums; letter-spacing: -.01em; }
.tiles span { color: var(--soft); font-size: .87rem; }
.pair { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px;
  align-items: stretch; }
section { margin-bottom: 16px; min-width: 0; }
.pair > section, .pair > div > section:last-child { margin: 0; }
.pair { margin-bottom: 16px; }
img { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 500; font-size: .87rem; vertical-align: bottom; }
.say th { white-space: normal; text-align: left; color: var(--ink); font-weight: 400;
  font-size: 1rem; }
.say td { font-weight: 600; padding-right: 0; }
tr:last-child > * { border-bottom: 0; }
tr.sum td { font-weight: 600; }
.share { display: flex; height: 12px; border-radius: 6px; overflow: hidden; margin: 4px 0 12px;
  background: var(--line); gap: 2px; }
.share i { min-width: 2px; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 3px;
  margin-inline-end: 8px; }
.approve { background: var(--approve); } .challenge { background: var(--challenge); }
.review { background: var(--review); } .decline { background: var(--decline); }
@media (max-width: 760px) { .pair { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 560px) { table { font-size: .85rem; } th, td { padding-right: 7px; }
  .scroll th { white-space: normal; font-size: .8rem; } }
@media print { body { background: none; } section { break-inside: avoid; } }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_OUTCOMES = ("approve", "challenge", "review", "decline")


def _count(value: Any) -> str:
    return "–" if value is None else f"{value:,}"


def _figure(value: float | None, places: int = 3) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _money(amount: str, currency: str) -> str:
    whole, point, rest = amount.partition(".")
    return f"{int(whole):,}{point}{rest} {escape(currency)}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], last: str = "") -> str:
    cells = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    lines = [[f"<td>{cell}</td>" for cell in row] for row in rows]
    body = "".join(
        f"<tr{last if last and place == len(lines) - 1 else ''}>{''.join(line)}</tr>"
        for place, line in enumerate(lines)
    )
    return f"<div class=scroll><table><tr>{cells}</tr>{body}</table></div>"


def _say(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{value}</td></tr>" for name, value in rows
    )
    return f'<table class="say">{lines}</table>'


def _section(title: str, *inside: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(inside)}</section>"


def _tiles(whole: Mapping[str, Any]) -> str:
    mean, asked, money = whole["mean"], whole["friction"], whole["money"]
    tiles = (
        (_count(whole["events"]), "events"),
        (_count(round(whole["events_per_second"] or 0)), "events a second"),
        (_figure(mean["average_precision"]), "average precision, mean of weeks"),
        (_figure(mean["roc_auc"]), "ROC AUC, mean of weeks"),
        (_figure(asked["questions_per_1000_payments"], 1), "questions per 1,000 payments"),
        (_share(money["share_of_fraud_stopped"]), "of fraud's value stopped"),
    )
    inside = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for value, name in tiles)
    return f"<div class=tiles>{inside}</div>"


def _outcomes(whole: Mapping[str, Any]) -> str:
    outcomes, count = whole["outcomes"], max(1, whole["events"])
    bars = "".join(
        f'<i class={name} style="flex:{outcomes[name] / count:.5f}"></i>'
        for name in _OUTCOMES
        if outcomes.get(name)
    )
    rows = [
        (
            f"<i class='key {name}'></i>{name}",
            _count(outcomes.get(name, 0)),
            _share(outcomes.get(name, 0) / count),
        )
        for name in _OUTCOMES
    ]
    late = f"<p class=note>{_count(whole['late'])} events came later than the lateness bound.</p>"
    return _section(
        "Outcomes",
        f"<div class=share>{bars}</div>",
        _table(("outcome", "events", "share"), rows),
        late if whole["late"] else "",
    )


def _friction(whole: Mapping[str, Any]) -> str:
    asked = whole["friction"]
    per_fraud = asked["honest_customers_asked_per_fraud_found"]
    of_customers = f"{_count(asked['customers_asked'])} of {_count(asked['customers'])}"
    rows = [
        ("Customers asked", of_customers),
        ("… of them twice or more", _count(asked["customers_asked_twice_or_more"])),
        ("… of them twice within 24 h", _count(asked["customers_asked_twice_within_24h"])),
        ("Most questions to one customer", _count(asked["most_questions_to_one_customer"])),
        ("Questions", _count(asked["questions"])),
        ("Questions per 1,000 payments", _figure(asked["questions_per_1000_payments"], 2)),
        ("Questions about honest payments", _count(asked["honest_questions"])),
        ("Honest customers asked per fraud found", _figure(per_fraud, 2)),
    ]
    return _section("Friction", _say(rows))


def _money_section(whole: Mapping[str, Any]) -> str:
    value = whole["money"]
    rows = [
        ("Fraud stopped (asked or declined)", "fraud_stopped"),
        ("Fraud held for an officer", "fraud_held"),
        ("Fraud missed (approved)", "fraud_missed"),
        ("Honest payments asked about", "honest_asked"),
        ("Honest payments declined", "honest_declined"),
    ]
    told = [(name, _money(value[key], value["currency"])) for name, key in rows]
    if value["frauds_without_rate"]:
        told.append(("Frauds without a known rate", _count(value["frauds_without_rate"])))
    return _section("Money", _say(told))


def _answers(whole: Mapping[str, Any]) -> str:
    told = whole["answers"]
    if not told:
        return ""
    rows = [
        ("Customers asked for an answer", _count(told["asked"])),
        ("Answered before the file's end", _count(told["answered"])),
        ("Said it was them", _count(told["confirmed"])),
        ("Said it wasn't", _count(told["denied"])),
        ("Were wrong", _count(told["wrong"])),
        ("Came after a stronger label", _count(told["outranked"])),
    ]
    note = "<p class=note>Simulated: answers come back as labels and teach the model.</p>"
    return _section("Simulated answers", _say(rows), note)


def _reliability(whole: Mapping[str, Any]) -> str:
    told = whole["reliability"]
    if not told["payments"]:
        return ""
    rows = [
        (
            f"{row['from']:g}",
            _count(row["payments"]),
            _figure(row["said"], 4),
            _figure(row["came"], 4),
        )
        for row in told["bins"]
    ]
    errors = (
        f"Brier {_figure(told['brier'], 5)}, expected calibration error {_figure(told['ece'], 5)} "
        f"over ten equal steps, {_figure(told['ece_equal_mass'], 5)} over twenty equal shares."
    )
    note = f"<p class=note>{errors}</p>"
    head = ("probability from", "payments", "said, mean", "were frauds")
    return _section("Reliability of the score", _table(head, rows), note)


def _groups(whole: Mapping[str, Any]) -> str:
    rows = []
    for kind, groups in whole["groups"].items():
        for group, row in groups.items():
            rows.append(
                (
                    f"{escape(kind.replace('_', ' '))} {escape(group)}",
                    _count(row["customers"]),
                    *(
                        _percent(row[name], row[f"{name}_of_others"], name in row["flagged"])
                        for name in ("challenge_rate", "false_positive_rate")
                    ),
                )
            )
    if not rows:
        return ""
    note = (
        "<p class=note>Groups come from a file of their own and are no input of any model. Rates "
        "beside those of all others; bold: more than 1.25 times theirs, and no chance.</p>"
    )
    head = ("group", "customers", "asked", "honest and stopped")
    return _section("By groups", _table(head, rows), note)


def _percent(rate: float | None, others: float | None, flagged: bool) -> str:
    if rate is None or others is None:
        return "–"
    told = f"{100 * rate:.2f} % ({100 * others:.2f} %)"
    return f"<b>{told}</b>" if flagged else told


def _weeks(whole: Mapping[str, Any]) -> str:
    if not whole["weeks"]:
        return "<p class=note>No whole week from a Wednesday (UTC) with known labels.</p>"
    rows = [
        (
            escape(week["start"]),
            _count(week["events"]),
            _count(week["frauds"]),
            _figure(week["roc_auc"]),
            _figure(week["average_precision"]),
            _figure(week["card_precision_at_100"]),
        )
        for week in whole["weeks"]
    ]
    mean = whole["mean"]
    rows.append(
        (
            "mean",
            "",
            "",
            _figure(mean["roc_auc"]),
            _figure(mean["average_precision"]),
            _figure(mean["card_precision_at_100"]),
        )
    )
    head = ("week from", "payments", "frauds", "ROC AUC", "avg. prec.", "card prec.@100")
    return _table(head, rows, " class=sum")


def _scenarios(whole: Mapping[str, Any]) -> str:
    if not whole["scenarios"]:
        return "<p class=note>No fraud with a known label.</p>"
    rows = [
        (
            escape(name.replace("_", " ")),
            _count(row["frauds"]),
            _share(row["recall_at_top"]),
            _share(row["recall_at_challenge"]),
            _share(row["stopped"]),
        )
        for name, row in whole["scenarios"].items()
    ]
    head = ("scenario", "frauds", "in top 0.5 %", "by score", "stopped")
    note = (
        "<p class=note>Share of its frauds in the highest 0.5 % of payments, and at the score from "
        "which the policy asks, once the model has learnt enough to act; and asked or declined in "
        "fact over the whole file, by rules too.</p>"
    )
    return _table(head, rows) + note


def _stages(whole: Mapping[str, Any]) -> str:
    rows = [
        (
            escape(stage),
            f"{whole['stage_mean_us'][stage]:.1f}",
            *(_count(taken[name]) for name in ("p50", "p90", "p99")),
        )
        for stage, taken in whole["stages_us"].items()
    ]
    return _table(("stage, µs", "mean", "p50", "p90", "p99"), rows)


def _data(picture: bytes) -> str:
    return "data:image/png;base64," + b64encode(picture).decode()


def _picture(name: str, title: str, light: Mapping[str, bytes], dark: Mapping[str, bytes]) -> str:
    if name not in light:
        return ""
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{_data(dark[name])}">'
        f'<img src="{_data(light[name])}" alt="{escape(title)}"></picture>'
    )


def page(
    whole: Mapping[str, Any], title: str, light: Mapping[str, bytes], dark: Mapping[str, bytes]
) -> str:
    """The whole page; pictures by name, as flows/plots.py draws them."""
    shown = {name: _picture(name, of, light, dark) for name, of, _ in PLOTS}
    names = {name: of for name, of, _ in PLOTS}
    span = f"{(whole['from'] or '')[:10]} to {(whole['to'] or '')[:10]}"
    seconds = f"{whole['seconds']:,.1f} s"
    pair = "<div class=pair>{}{}</div>".format
    stages = _section(names["stages"], shown["stages"], _stages(whole))
    return "".join(
        (
            "<!doctype html><html lang=en><meta charset=utf-8>",
            "<meta name=viewport content='width=device-width, initial-scale=1'>",
            f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">',
            f"<title>Replay of {escape(title)}</title><style>{_STYLE}</style><main>",
            f"<header><h1>Replay of {escape(title)}</h1>",
            f"<p>{_count(whole['events'])} events, {_count(whole['payments'])} of them payments, ",
            f"{span} (UTC), in {seconds}</p></header>",
            _tiles(whole),
            pair(
                _section(names["quality"], shown["quality"], _weeks(whole)),
                _section(names["recall"], shown["recall"], _scenarios(whole)),
            ),
            pair(_friction(whole), f"<div>{_money_section(whole)}{_answers(whole)}</div>"),
            pair(_outcomes(whole), _section(names["outcomes"], shown["outcomes"])),
            pair(_section(names["scores"], shown["scores"]), stages),
            _reliability(whole),
            _groups(whole),
            "</main></html>\n",
        )
    )
