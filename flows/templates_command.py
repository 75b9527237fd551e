"""`ringback templates`: may these texts be sent, and what would a customer read?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from config.settings import Settings

app = typer.Typer(no_args_is_help=True, help="What the bank says to its customers.")
_DATA = Path("var")


@app.callback()
def about() -> None:
    """What the bank says to its customers."""


@app.command()
def lint(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of texts; none: those in use.")
    ] = None,
    data: Annotated[Path, typer.Option(help="The data directory.")] = _DATA,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check texts before they are sent; status 1 where one is refused, 2 where none is there."""
    from config.settings import HERE, read_settings
    from notifiers.templates_lint import Finding
    from notifiers.templates_lint import lint as findings_of

    settings = read_settings(HERE / "ringback.yaml", data / "ringback.yaml")
    chosen = files or in_use(HERE / "templates", data)
    found: list[Finding] = []
    for path in chosen:
        try:
            source = path.read_bytes()
        except OSError as missing:
            typer.echo(f"ringback: {path}: needed a file of texts, got none: {missing}", err=True)
            raise typer.Exit(2) from missing
        found += findings_of(str(path), source, hosts_of(settings))
    if as_json:
        told = {"files": [str(path) for path in chosen], "findings": [f.as_json() for f in found]}
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        for one in found:
            typer.echo(str(one))
        typer.echo(f"{len(chosen)} files, {len(found)} findings")
    raise typer.Exit(1 if found else 0)


def in_use(shipped: Path, data: Path) -> list[Path]:
    """The files that a notifier would read: the shipped ones, then the bank's own."""
    return [
        path for folder in (shipped, data / "templates") for path in sorted(folder.glob("*.yaml"))
    ]


def hosts_of(settings: "Settings") -> frozenset[str]:
    """The hosts that a text may link to: the bank's own, and that of its pages."""
    own = set(settings.institution.hosts)
    if settings.public_url:
        own.add(urlsplit(settings.public_url).netloc.lower())
    return frozenset(own)
