"""What docs/serving.md shows, run as it stands there against a gateway on a port."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from service.serving.codecs import FORMATS
from tests.service.formats.written import FORMATS as WRITTEN
from tests.service.formats.written import picture
from tests.service.v2.conftest import serving_on_a_port

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
HOST = "127.0.0.1:8000"
ROWS = (np.random.default_rng(0).integers(0, 256, (3, 64)) / 255).astype("f4")
TABLE = np.random.default_rng(1).random((3, 8)).astype("f4")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


CURLS = [block for block in blocks("console") if "curl" in block]
PANDAS = [block for block in blocks("python") if "pandas" in block]


@pytest.fixture(scope="module")
def address(trained_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    import shutil

    home = tmp_path_factory.mktemp("page") / "home"
    shutil.copytree(trained_template, home)
    with serving_on_a_port(home) as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that the page names."""
    body = WRITTEN["json"].write(ROWS)
    files = {
        "rows.json": body,
        "rows.json.zst": pa.Codec("zstd").compress(body, asbytes=True),
        "rows.npy": WRITTEN["npy"].write(ROWS),
        "rows.arrow": WRITTEN["arrow lists"].write(ROWS),
        "rows.f32": ROWS.tobytes(),
        "rows.csv": WRITTEN["csv"].write(ROWS),
        "digit.png": picture(ROWS),
        "digit.jpg": picture(ROWS, "JPEG"),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[f"x{place}" for place in range(8)], *TABLE.tolist()])
    return tmp_path


def codes(address: str, rows: np.ndarray[Any, Any], model: str = "digits-code") -> list[list[float]]:
    answer = httpx.post(f"http://{address}/v1/models/{model}/encode", json={"inputs": rows.tolist()})
    found: list[list[float]] = answer.json()["codes"]
    return found


@pytest.mark.parametrize("block", CURLS, ids=range(len(CURLS)))
def test_curl_sends_every_format(address: str, folder: Path, block: str) -> None:
    command = ["bash", "-euo", "pipefail", "-c", block.replace(HOST, address)]
    answer = json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout)
    if "threshold" in block:
        assert answer["interval"][0] <= answer["threshold"] <= answer["interval"][1]
        return
    if "blobs-code" in block:
        assert np.shape(answer["codes"]) == (1, 4)
        return
    if answer.get("encoding") == "base64":
        answer["codes"] = WRITTEN["base64"].read(json.dumps(answer).encode(), "codes", {})
    count, error = (1, 0.3 if "jpeg" in block else 1e-4) if "image/" in block else (3, 1e-5)
    np.testing.assert_allclose(answer["codes"], codes(address, ROWS[:count]), rtol=1e-4, atol=error)


def test_every_format_and_compression_has_its_line() -> None:
    lines = "\n".join(CURLS)
    assert all(f"content-type: {media}" in lines for media in FORMATS)
    assert all(f"content-encoding: {name}" in lines for name in ("gzip", "zstd"))
    assert all(f"`{media}`" in PAGE for media in FORMATS)


@pytest.mark.parametrize("block", PANDAS, ids=range(len(PANDAS)))
def test_ten_lines_with_pandas_score_a_frame(
    address: str, folder: Path, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len([line for line in block.splitlines() if line]) <= 10
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(block.replace(HOST, address), names)
    frame = names["frame"]
    answer = httpx.post(
        f"http://{address}/v1/models/blobs-code/score", json={"inputs": TABLE.tolist()}
    ).json()
    assert list(frame.columns)[:8] == [f"x{place}" for place in range(8)]
    np.testing.assert_allclose(frame.iloc[:, 8], answer["scores"], rtol=1e-5)
    np.testing.assert_allclose(frame.iloc[:, 9], answer["percentiles"])


def test_tritons_client_fetches_codes(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [block for block in blocks("python") if "tritonclient" in block]
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(block.replace(HOST, address), names)
    np.testing.assert_allclose(names["codes"], codes(address, ROWS), rtol=1e-4, atol=1e-5)
