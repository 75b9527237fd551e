"""`ringback models`: which are there, how good are they, whose word counts, on whose word?"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

models_app = typer.Typer(no_args_is_help=True, help="The models' registry: docs/models.md.")
Data = Annotated[Path, typer.Option(help="The data directory.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Who = Annotated[str, typer.Option("--as", help="Who you are: ringback staff.")]
Key = Annotated[Path | None, typer.Option(help="Your key; else RINGBACK_KEY names it.")]
Why = Annotated[str, typer.Option(help="The reason; goes on record.")]
VAR = Path("var")


def _opened(data: Path) -> Any:
    from flows.parts import open_house
    from flows.redis_server import wait

    house = open_house(data)
    return house, wait(house.redis_url, 5.0)


@models_app.command("list")
def list_models(data: Data = VAR, as_json: Json = False) -> None:
    """Show all models with their cards, roles and figures, and the open proposals."""
    from features.prequential import means
    from flows import models
    from flows.assemble import registry_of

    house, client = _opened(data)
    registry, board = registry_of(house.data), models.standing(client)
    figures = means(models.measured(house))
    rows = []
    for name, recipe in registry.recipes.items():
        card, now = registry.card(name), board["models"].get(name, {})
        rows.append(
            {
                "model": name,
                "role": now.get("role", "off the path" if recipe.off_path else "registered"),
                "version": now.get("version"),
                "lessons": now.get("lessons"),
                "expires": card.expires.isoformat(),
                "average_precision": figures.get(name, {}).get("average_precision"),
                "words": recipe.words,
            }
        )
    waiting = [row for row in models.proposals(client) if row["state"] == "open"]
    if as_json:
        typer.echo(json.dumps({"models": rows, "proposals": waiting, "drift": board["drift"]}))
        return
    table = Table("model", "role", "version", "lessons", "average precision", "card until", "what")
    for row in rows:
        precision = row.pop("average_precision")
        cells = (row[name] for name in ("model", "role", "version", "lessons"))
        shown = "-" if precision is None else f"{precision:.3f}"
        table.add_row(
            *(str("-" if cell is None else cell) for cell in cells),
            shown,
            str(row["expires"]),
            str(row["words"]),
        )
    console = Console()
    console.print(table)
    for row in waiting:
        what = "rollback to" if row["back"] else "promotion of"
        console.print(f"{row['id']}: {what} {row['model']}, by {row['proposed_by']}: {row['why']}")


@models_app.command()
def show(model: str, data: Data = VAR, as_json: Json = False) -> None:
    """Show a model's card, recipe, size, dump time, and figures by week, source and scenario."""
    from features.model import recipe_sha256
    from flows import models
    from flows.assemble import registry_of
    from flows.errors import Unregistered

    house, client = _opened(data)
    registry = registry_of(house.data)
    if model not in registry.recipes:
        raise Unregistered(f"models: needed one of {', '.join(registry.recipes)}, got {model!r}")
    recipe = registry.recipes[model]
    made = recipe.make()
    began = time.perf_counter_ns()
    fresh = {"bytes": len(made.dump()), "dump_us": (time.perf_counter_ns() - began) // 1000}
    told = {
        "model": model,
        "words": recipe.words,
        "off_path": recipe.off_path,
        "recipe": recipe_sha256(made),
        "inputs": list(made.inputs),
        "now": models.standing(client)["models"].get(model),
        "without_a_lesson": fresh,
        "figures": [row._asdict() for row in models.measured(house) if row.model == model],
    }
    try:
        card = registry.card(model).model_dump(mode="json")
    except Unregistered as none:
        card = {"missing": str(none)}
    told["card"] = card
    if as_json:
        typer.echo(json.dumps(told))
        return
    console = Console()
    for name in ("model", "words", "off_path", "recipe", "now", "without_a_lesson"):
        console.print(f"{name}: {told[name]}")
    for name, value in card.items():
        console.print(f"  {name}: {value}")
    table = Table("week", "source", "scenario", "events", "frauds", "AP", "ROC AUC", "log loss")
    for row in told["figures"]:
        precision, auc = row["average_precision"], row["roc_auc"]
        table.add_row(
            row["week"],
            row["source"],
            row["scenario"],
            str(row["events"]),
            str(row["frauds"]),
            "-" if precision is None else f"{precision:.3f}",
            "-" if auc is None else f"{auc:.3f}",
            f"{row['log_loss']:.4f}",
        )
    console.print(table)


@models_app.command()
def beside(data: Data = VAR) -> None:
    """Run the configured models that are off the path; `ringback run` starts it itself."""
    from flows import parts
    from flows.parts import open_house

    parts.beside(open_house(data))


@models_app.command()
def propose(model: str, who: Who, why: Why, data: Data = VAR, key: Key = None) -> None:
    """Put a challenger forward as champion; another person must approve."""
    from flows import models, staff

    house, client = _opened(data)
    row = models.propose(house, client, staff.person(house.data, who, key), model, why)
    typer.echo(f"{row['id']}: {model} {row['version']} is proposed; another person approves it.")


@models_app.command()
def approve(proposal: str, who: Who, data: Data = VAR, key: Key = None) -> None:
    """Agree to another's proposal; the flow takes it where it stands in the stream."""
    from flows import models, staff

    house, client = _opened(data)
    row = models.approve(house, client, staff.person(house.data, who, key), proposal)
    typer.echo(f"{proposal}: {row['model']} decides from here on; its word goes into the stream.")


@models_app.command()
def rollback(who: Who, why: Why, data: Data = VAR, key: Key = None) -> None:
    """Propose the champion before, who has learnt on; another person must approve."""
    from flows import models, staff

    house, client = _opened(data)
    row = models.rollback(house, client, staff.person(house.data, who, key), why)
    typer.echo(f"{row['id']}: back to {row['model']} is proposed; another person approves it.")
