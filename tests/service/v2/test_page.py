"""What docs/open_inference.md shows, run as it stands there against a gateway on a port."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.routing import APIRoute

from autoencoders import bundle
from service.routes import inference_v2, repository_v2
from service.serving.protocol import OUTPUTS
from tests.service.v2.conftest import some_rows

PAGE = (Path(__file__).parents[3] / "docs" / "open_inference.md").read_text()
HOST = "127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_ten_lines_fetch_codes(address: str, digits: bundle.TrainedModel) -> None:
    (lines,) = blocks("python")
    assert len([line for line in lines.splitlines() if line]) <= 10
    names: dict[str, Any] = {}
    exec(lines.replace(HOST, address), names)
    np.testing.assert_allclose(names["codes"], digits.encode(names["rows"]), rtol=1e-4, atol=1e-5)


def test_curl_sends_rows_as_they_are(address: str, digits: bundle.TrainedModel, tmp_path: Path) -> None:
    (line,) = blocks("console")
    rows = some_rows(4)
    (tmp_path / "rows.f32").write_bytes(rows.tobytes())
    command = [*shlex.split(line.replace(HOST, address)), "-D", "headers.txt"]
    subprocess.run(command, cwd=tmp_path, check=True)
    told = re.findall(r"inference-header-content-length: (\d+)", (tmp_path / "headers.txt").read_text(), re.I)
    answer = (tmp_path / "answer.bin").read_bytes()
    head = json.loads(answer[: int(told[0])])
    assert [output["name"] for output in head["outputs"]] == list(OUTPUTS)
    codes = np.frombuffer(answer[int(told[0]) :], np.float32, 16).reshape(4, 4)
    np.testing.assert_allclose(codes, digits.encode(rows), rtol=1e-4, atol=1e-5)


def test_every_call_of_the_protocol_stands_in_the_page() -> None:
    routes = [*inference_v2.router.routes, *repository_v2.router.routes]
    ours = {route.path for route in routes if isinstance(route, APIRoute) and route.include_in_schema}
    assert len(ours) == 18
    last = {path.rpartition("/")[2] for path in ours} - {"{name}", "{version}", "v2"}
    assert all(re.search(rf"/{word}\b", PAGE) for word in last), last
    assert "stats" in last
    assert {"binary_tensor_data", "statistics"} <= set(repository_v2.EXTENSIONS)
