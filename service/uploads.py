"""From bytes, a built-in sample or a URL to a dataset: parsed in a bounded child, kept, and noted."""

from __future__ import annotations

import dataclasses
import fcntl
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPDefaultErrorHandler, HTTPErrorProcessor, HTTPHandler, HTTPSHandler

import fsspec

from autoencoders.data.options import Limits, Other, ReadOptions
from autoencoders.data.samples import samples
from autoencoders.errors import DataRefused
from service.children import Bounds
from service.errors import ChildFailed, ChildRefused, FieldRefused, ParseFailed, Why
from service.gateway import Gateway
from service.receive import FLUSH_BYTES
from store import DatasetRow, Datasets, NotFound, ids

READER = "autoencoders.data.read_upload"
_FETCH_SECONDS = 60
_FAILURES: dict[Why, str] = {
    "memory": "reading the data needs more than the {memory_bytes:,} bytes of memory it may use",
    "time": "reading the data took longer than {wall_seconds} s",
    "size": "the data would grow beyond {file_bytes:,} bytes",
    "stopping": "the service is stopping",
    "left": "nobody waits for this upload any more",
    "broke": "the data could not be read: the process that parses them broke",
}


@contextmanager
def workplace(gateway: Gateway) -> Iterator[tuple[str, Path]]:
    """A fresh dataset id and a folder for what becomes of it; the folder is gone afterwards."""
    identity = ids.new("ds")
    folder = gateway.settings.uploads / identity
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield identity, folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parse(gateway: Gateway, request: Mapping[str, Any], folder: Path, options: ReadOptions) -> dict[str, Any]:
    """Have a bounded child write the canonical folder `folder/dataset`; its manifest.

    Raises:
        DataRefused: these bytes cannot become a dataset.
        ParseFailed: the child broke or ran out of its limits.
        FieldRefused: the held-out rows are to be those of a dataset that there is not.
    """
    document = options.model_dump(mode="json")
    if isinstance(options.holdout, Other):
        document["holdout_folder"] = str(_other(gateway, options.holdout.dataset))
    document["limits"] = Limits(max_bytes=gateway.settings.upload_limit_bytes).model_dump(mode="json")
    asked = {**request, "destination": str(folder / "dataset"), "options": document}
    manifest = _ask(gateway, asked, gateway.bounds())
    if not isinstance(manifest.get("shape"), list):
        raise ParseFailed("the data could not be read: the process that parses them said nothing of use")
    return manifest


def _ask(gateway: Gateway, asked: dict[str, Any], bounds: Bounds) -> dict[str, Any]:
    try:
        return gateway.parsers.run(READER, asked, bounds)
    except ChildRefused as refusal:
        said = refusal.said
        raise DataRefused(said["message"], row=said.get("row"), column=said.get("column")) from None
    except ChildFailed as failure:
        limits = dataclasses.asdict(bounds)
        raise ParseFailed(_FAILURES[failure.why].format(**limits)) from failure


def keep(
    gateway: Gateway,
    identity: str,
    folder: Path,
    manifest: Mapping[str, Any],
    *,
    name: str,
    labels: Mapping[str, str],
    owner: str | None,
) -> DatasetRow:
    """Files first, then the row that points at them; files without a row are removed."""
    key = f"datasets/{identity}"
    gateway.store.artifacts.put_folder(folder / "dataset", key, move=True)
    try:
        with gateway.store.transaction() as session:
            return Datasets(session).create(
                id=identity, name=name, manifest=manifest, labels=labels, owner=owner
            )
    except BaseException:
        gateway.store.artifacts.remove(key)
        raise


def sample_dataset(gateway: Gateway, name: str) -> DatasetRow:
    """The dataset of a built-in sample's name, made on its first use, once.

    Raises:
        NotFound: no dataset and no sample has this name.
    """
    with gateway.store.session() as session:
        try:
            return Datasets(session).get(name)
        except NotFound:
            if name not in samples:
                raise
    choice = samples.choose(name)
    with _alone(gateway, name):
        # Somebody else may have made it while this one waited.
        with gateway.store.session() as session:
            try:
                return Datasets(session).get(name)
            except NotFound:
                pass
        with workplace(gateway) as (identity, folder):
            manifest = parse(gateway, {"sample": choice.model_dump()}, folder, ReadOptions(name=name))
            return keep(gateway, identity, folder, manifest, name=name, labels={}, owner=None)


def fetch(gateway: Gateway, url: str, destination: Path) -> None:
    """Write what an allowed URL holds to a file, under the limit of uploads.

    Raises:
        FieldRefused: the operator does not allow it, or it cannot be read.
    """
    _refuse_url(gateway, url)
    try:
        with _open(url) as source, destination.open("wb") as file:
            left = gateway.settings.upload_limit_bytes
            while portion := source.read(FLUSH_BYTES):
                left -= len(portion)
                if left < 0:
                    raise FieldRefused([(("url",), "it holds more bytes than an upload may have")])
                file.write(portion)
    except (OSError, ValueError, ImportError) as error:
        raise FieldRefused([(("url",), f"it cannot be read: {type(error).__name__}")]) from error


def _refuse_url(gateway: Gateway, url: str) -> None:
    allowed = gateway.settings.url_prefixes
    if not allowed:
        raise FieldRefused([(("url",), "datasets from URLs are switched off here (HOURGLASS_URL_PREFIXES)")])
    decoded = unquote(url)
    parts = urlsplit(url)
    # Only what reads the same to us and to whoever opens it: no chained protocols, no way up.
    suspicious = (
        ".." in decoded or "\\" in decoded or "::" in decoded or "@" in parts.netloc or not url.isprintable()
    )
    if suspicious or not any(url.startswith(prefix) for prefix in allowed):
        raise FieldRefused([(("url",), f"it must begin with one of {', '.join(allowed)}")])


def _open(url: str) -> BinaryIO | HTTPResponse:
    if urlsplit(url).scheme in {"http", "https"}:
        # No handler of redirects (the allowed must not lead to the rest), of proxies or of local files.
        opener = urllib.request.OpenerDirector()
        for handler in (HTTPHandler(), HTTPSHandler(), HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
            opener.add_handler(handler)
        return cast("HTTPResponse", opener.open(url, timeout=_FETCH_SECONDS))
    return cast("BinaryIO", fsspec.open(url, "rb").open())


def _other(gateway: Gateway, dataset: str) -> Path:
    with gateway.store.session() as session:
        try:
            row = Datasets(session).get(dataset)
        except NotFound as error:
            raise FieldRefused([(("query", "holdout", "dataset"), str(error))]) from None
    return gateway.store.artifacts.local_copy(row.artifact)


@contextmanager
def _alone(gateway: Gateway, name: str) -> Iterator[None]:
    """One maker at a time on this machine, whichever thread or process asks."""
    gateway.settings.uploads.mkdir(parents=True, exist_ok=True)
    with (gateway.settings.uploads / f".{name}.making").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
