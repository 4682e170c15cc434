"""The `hourglass` commands; each that is longer than a few lines has a room of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import plainly
from cli.keys import keys

app = typer.Typer(
    help="Train and serve autoencoders over HTTP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(keys, name="keys")

Home = Annotated[Path | None, typer.Option(help="The data folder, instead of HOURGLASS_HOME.")]
Host = Annotated[str | None, typer.Option(help="Instead of HOURGLASS_HOST.")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Instead of HOURGLASS_PORT.")]
Parent = Annotated[int | None, typer.Option(hidden=True, help="The process with which this one ends.")]


def main() -> None:
    """What the `hourglass` command runs."""
    with plainly():
        app()


@app.command()
def up(home: Home = None, host: Host = None, port: Port = None) -> None:
    """Run all of it in this terminal: gateway, worker and, where none is set, an embedded broker."""
    from cli.environment import read_settings
    from cli.up import House

    _instead(HOME=home, HOST=host, PORT=port)
    House(read_settings()).run()


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Instead of HOURGLASS_GATEWAY_PROCESSES.")
    ] = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="An open socket to serve on.")] = None,
    parent: Parent = None,
) -> None:
    """Run a gateway: HTTP in, HTTP out."""
    from cli.serve import serve as run

    _follow(parent)
    _instead(HOST=host, PORT=port, GATEWAY_PROCESSES=workers)
    run(fd=fd)


@app.command()
def work(
    device: Annotated[str | None, typer.Option(help="auto, cpu or gpu; instead of HOURGLASS_DEVICE.")] = None,
    name: Annotated[str | None, typer.Option(help="Instead of HOURGLASS_WORKER_NAME.")] = None,
    parent: Parent = None,
) -> None:
    """Run a worker: takes jobs one at a time and trains."""
    from cli.work import work as run

    _follow(parent)
    _instead(DEVICE=device, WORKER_NAME=name)
    raise typer.Exit(run())


@app.command()
def train(
    spec: Annotated[Path, typer.Argument(help='A job as JSON, such as {"code": 8}.')],
    data: Annotated[Path, typer.Argument(help="CSV, Parquet, Arrow, npy, npz or a zip of images.")],
    out: Annotated[Path, typer.Option(help="The folder that becomes the model.")] = Path("model"),
) -> None:
    """Train a model from a file, without a server."""
    from cli.offline import train as run

    run(spec, data, out)


@app.command()
def diagnose(
    spec: Annotated[Path, typer.Argument(help='A job as JSON, such as {"code": 8}.')],
    data: Annotated[str, typer.Option(help="A file as for `train`, or the name of a built-in sample.")],
) -> None:
    """Say what an initialisation does and whether the job will learn, before any training."""
    from cli.diagnosis import diagnose as run

    run(spec, data)


@app.command()
def settings() -> None:
    """Print every setting, its value and where that comes from; secrets hidden."""
    from cli.environment import read_settings, settings_lines

    lines = list(settings_lines(read_settings()))
    names, values = max(len(line.name) for line in lines), max(len(line.value) for line in lines)
    for line in lines:
        print(
            f"{line.name:{names}}  {line.value:{min(values, 60)}}  {line.source:11}  {line.meaning}".rstrip()
        )


@app.command()
def migrate() -> None:
    """Bring the database to this version's tables; harmless when it is there already."""
    from cli.environment import private_folder, read_settings
    from store import migrate as run

    settings = read_settings().store
    private_folder(settings.home)
    run(settings)
    print("the database is up to date")


@app.command()
def catalog(
    family: Annotated[str | None, typer.Argument(help="A family such as inits; all if not given.")] = None,
) -> None:
    """Print the words that a job may use."""
    from cli.words import print_words

    print_words(family)


@app.command("import")
def import_model(
    source: Annotated[Path, typer.Argument(help="A bundle from another installation: its zip or folder.")],
    name: Annotated[str | None, typer.Option(help="Of the model; unset: the file's, without -3.")] = None,
) -> None:
    """Register a model that was trained elsewhere, once its files and its answers are what they were."""
    from cli.imports import import_bundle

    import_bundle(source, name)


@app.command()
def demo() -> None:
    """Train on real digits over HTTP and beat PCA, in a running house or one of its own."""
    from cli.demo import demo as run

    run()


def _instead(**options: object) -> None:
    """Options become variables, so that child processes and every reader of settings see one truth."""
    for name, value in options.items():
        if value is not None:
            os.environ[f"HOURGLASS_{name}"] = str(value)


def _follow(parent: int | None) -> None:
    if parent is not None:
        from cli.processes import follow

        follow(parent)


if __name__ == "__main__":
    main()
