"""`hourglass import FILE.zip`: a model from elsewhere, verified and registered as the next version."""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import typer

from cli.errors import Refused

if TYPE_CHECKING:
    from autoencoders.bundle import TrainedModel
    from store import ModelRow

_PORTION = 1 << 20


def import_bundle(source: Path, name: str | None) -> None:
    """Verify a bundle's hashes and golden rows, and register it under its name as the next version.

    Raises:
        Refused: there is no such file, or it is no bundle.
        BundleDamaged: its files, or its answers, are not what its manifest promises.
        BadName: no model may be called so.
    """
    if not source.exists():
        raise Refused(f"there is no file or folder {source}")
    name = name or re.sub(r"-\d+$", "", source.stem if source.is_file() else source.name)
    with tempfile.TemporaryDirectory(prefix="hourglass-") as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        _gather(source, folder)
        trained = _verified(folder)
        row = _register(folder, name, trained)
    manifest = trained.manifest
    typer.echo(f"{row.name}@{row.version}: code of {manifest.code_size}, held-out error {row.error:.6g}")


def _gather(source: Path, folder: Path) -> None:
    """Copy what belongs to a bundle, and nothing else: a zip's other paths lead nowhere."""
    from autoencoders.bundle import FILES, MANIFEST

    known = {*FILES, MANIFEST}
    if source.is_dir():
        for name in known:
            if (source / name).is_file():
                (folder / name).write_bytes((source / name).read_bytes())
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            # A zip may hold the bundle itself or one folder with it.
            entries = {PurePosixPath(entry.filename): entry for entry in archive.infolist()}
            roots = {path.parent for path in entries if path.name == MANIFEST}
            if len(roots) == 1:
                (root,) = roots
                for name in known & {path.name for path in entries if path.parent == root}:
                    with archive.open(entries[root / name]) as packed, (folder / name).open("wb") as target:
                        while portion := packed.read(_PORTION):
                            target.write(portion)
    if not (folder / MANIFEST).is_file():
        raise Refused(f"{source} is no bundle: a zip or folder with {MANIFEST}, as `…/bundle` answers it")


def _verified(folder: Path) -> TrainedModel:
    from autoencoders import bundle, golden
    from autoencoders.errors import BundleDamaged
    from autoencoders.export.operators import NotExportable
    from autoencoders.export.sessions import check, opened

    trained = bundle.load(folder)
    if golden.GOLDEN not in trained.manifest.hashes:
        typer.echo("this bundle has no golden rows: only its hashes were verified", err=True)
        return trained
    golden.check(trained, folder)
    if bundle.ENCODER in trained.manifest.hashes:
        graphs = [(folder / name).read_bytes() for name in (bundle.ENCODER, bundle.DECODER)]
        try:
            check(trained, opened(*graphs), golden.read(folder)["rows"])
        except NotExportable as problem:
            raise BundleDamaged(str(problem)) from problem
    return trained


def _register(folder: Path, name: str, trained: TrainedModel) -> ModelRow:
    from cli.environment import private_folder, read_settings
    from store import Models, Store, ids, migrate

    settings = read_settings().store
    private_folder(settings.home)
    migrate(settings)
    store = Store.open(settings)
    try:
        ids.check_name("model's name", name)
        store.artifacts.check_room(sum(path.stat().st_size for path in folder.iterdir()))
        key = f"models/{ids.new('model')}"
        store.artifacts.put_folder(folder, key)
        try:
            with store.transaction() as session:
                return Models(session).register(
                    name=name,
                    job_id=None,
                    dataset_id=None,
                    manifest=trained.manifest.model_dump(mode="json"),
                    error=trained.manifest.metrics.error,
                    artifact=key,
                )
        except BaseException:
            store.artifacts.remove(key)
            raise
    finally:
        store.close()
