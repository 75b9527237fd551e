"""`ringback features`: what is counted here, and since when; whether a file can be meant."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

features_app = typer.Typer(no_args_is_help=True, help="What an event is described by.")
Data = Annotated[Path, typer.Option(help="The data directory.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
File = Annotated[Path, typer.Argument(help="A features.yaml; it extends the shipped one.")]
Declared = Annotated[bool, typer.Option("--declared", help="Without the built-in ones.")]


@features_app.command("list")
def listed(data: Data = Path("var"), declared: Declared = False, as_json: Json = False) -> None:
    """Show every feature: whether it is counted, since when, and what it means."""
    rows = [row for row in described(data) if row["declared"] or not declared]
    if as_json:
        typer.echo(json.dumps({"features": rows}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("feature", "values", "counted", "since", "meaning")
    for row in rows:
        counted = "yes" if row["counted"] else "on demand"
        table.add_row(
            row["name"],
            f"{row['kind']}, {row['unit']}",
            counted,
            row["since"] or "",
            row["meaning"],
        )
    Console(width=None if typer.get_text_stream("stdout").isatty() else 200).print(table)


@features_app.command()
def check(file: File, as_json: Json = False) -> None:
    """Say whether a file of declared features can be meant, and how they will be named."""
    from flows.catalogue import read_file

    found = read_file(file)
    names = [one.name for one in found.sentences.values() if one.place.startswith(str(file))]
    if as_json:
        typer.echo(json.dumps({"features": names}))
        return
    for name in names:
        typer.echo(f"{name}: {found.by_name[name].meaning}")


@features_app.command()
def propose(
    by: Annotated[str, typer.Option("--as", help="Your name, as `ringback staff list` has it.")],
    why: Annotated[str, typer.Option("--why", help="For those who read it in years.")],
    data: Data = Path("var"),
    key: Annotated[Path | None, typer.Option(help="Your key; else $RINGBACK_KEY, or ours.")] = None,
) -> None:
    """Propose that features.yaml counts as it stands; `ringback rules approve` by another."""
    from flows.rules_command import changes_of, tell
    from flows.staff import person

    tell(changes_of(data).propose_features(person(data, by, key), why))


def described(data: Path) -> list[dict[str, Any]]:
    """Every feature of a data directory, as JSON has it; ``since`` is the flow's own word."""
    import redis

    from flows.assemble import counted, read_rule_set
    from flows.catalogue import counting_since
    from flows.parts import open_house
    from risk.events import rfc3339

    house = open_house(data)
    here = data if data.exists() else None
    found = counted(read_rule_set(house.settings, here), here)
    try:
        stamps = counting_since(redis.Redis.from_url(house.redis_url))
    except redis.RedisError:
        stamps = {}  # nothing runs here: since when is not known
    rows = []
    for feature in found.features:
        sentence = found.sentences.get(feature.name)
        known = [stamps[track] for track in found.tracks_of(feature.name) if track in stamps]
        rows.append(
            {
                "name": feature.name,
                "kind": found.kinds[feature.name],
                "unit": feature.unit,
                "grade": feature.grade,
                "meaning": feature.meaning,
                "claimed": feature.claimed,
                "declared": sentence is not None,
                "line": sentence.text if sentence else None,
                "place": sentence.place if sentence else None,
                "counted": feature.name in found.counted,
                "since": rfc3339(max(known)) if known else None,
            }
        )
    return rows
