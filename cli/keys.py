"""`hourglass keys`: issue, list and revoke API keys, straight in the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from store import KeyRow, Keys

SCOPES = ("read", "train", "infer", "admin")

keys = typer.Typer(help="Issue, list and revoke API keys.", no_args_is_help=True)


@keys.command()
def issue(
    scope: Annotated[list[str], typer.Option(help="read, train, infer or admin; again for more.")],
    name: Annotated[str, typer.Option(help="Whom it is for.")] = "terminal",
    days: Annotated[int | None, typer.Option(min=1, help="Days that it is valid; unset: for ever.")] = None,
) -> None:
    """Make a key and print it: it is shown this once, only its hash is kept."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with _opened() as all_keys:
        row, secret = all_keys.issue(name=name, scopes=scope, expires_at=expires_at)
        typer.echo(f"key {row.id} ({', '.join(row.scopes)}) for {row.name}; it is shown only now:", err=True)
    typer.echo(secret)  # alone on stdout, and only once it is kept: `KEY=$(hourglass keys issue)`


@keys.command("list")
def list_keys() -> None:
    """The keys there are, without their secrets."""
    with _opened() as all_keys:
        after: str | None = None
        while True:
            page = all_keys.page(limit=100, after=after)
            for row in page.items:
                made = f"{row.created_at:%Y-%m-%d %H:%M}"
                typer.echo("\t".join([row.id, _state(row), ",".join(row.scopes), made, row.name]))
            if (after := page.next) is None:
                return


@keys.command()
def revoke(key: Annotated[str, typer.Argument(help="Its id, as `hourglass keys list` shows it.")]) -> None:
    """End a key: the next request with it is refused."""
    with _opened() as all_keys:
        all_keys.revoke(key)
    typer.echo(f"{key} is revoked")


@contextmanager
def _opened() -> Iterator[Keys]:
    """The keys, in a transaction of the database that the settings name."""
    from cli.environment import private_folder, read_settings
    from store import Keys, Store, migrate

    settings = read_settings().store
    private_folder(settings.home)
    migrate(settings)
    store = Store.open(settings)
    try:
        with store.transaction() as session:
            yield Keys(session)
    finally:
        store.close()


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is None:
        return "valid"
    return f"{'valid until' if row.expires_at > datetime.now(UTC) else 'expired'} {row.expires_at:%Y-%m-%d}"
