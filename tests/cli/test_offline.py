"""`hourglass train` and `hourglass diagnose`: from a file, without a server."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from autoencoders import bundle
from tests.system.house import hourglass

SPEC = {
    "dataset": "left out here",
    "architecture": {"name": "dense", "widths": [8]},
    "code": 2,
    "init": "he_normal",
    "training": {"epochs": 3, "batch_size": 32},
}


def _table(folder: Path, rows: int = 200) -> Path:
    angle = np.linspace(0, 2 * math.pi, rows)
    columns = {"x": np.cos(angle), "y": np.sin(angle), "z": np.cos(2 * angle), "w": np.sin(3 * angle)}
    lines = [
        ",".join(columns),
        *(",".join(f"{value:.5f}" for value in row) for row in zip(*columns.values(), strict=True)),
    ]
    file = folder / "table.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def _spec(folder: Path, **words: object) -> Path:
    file = folder / "spec.json"
    file.write_text(json.dumps({**SPEC, **words}))
    return file


def test_a_table_becomes_a_model_and_its_error_stands_beside_the_baselines(tmp_path: Path) -> None:
    outcome = hourglass(
        "train", str(_spec(tmp_path)), str(_table(tmp_path)), "--out", "trained", cwd=tmp_path
    )
    assert outcome.returncode == 0, outcome.stderr
    manifest = json.loads((tmp_path / "trained" / "model.json").read_text())
    assert f"model {manifest['metrics']['error']:.4g}" in outcome.stdout
    assert "mean " in outcome.stdout
    assert "PCA at this code size " in outcome.stdout
    assert {"weights.safetensors", "encoder.onnx", "decoder.onnx"} <= set(manifest["hashes"])
    assert manifest["inference"]["runtime"] in {"onnx", "torch"}
    bundle.verify(tmp_path / "trained")


def test_an_init_that_is_left_out_is_chosen_and_said(tmp_path: Path) -> None:
    spec, table = tmp_path / "spec.json", str(_table(tmp_path))
    spec.write_text(json.dumps({name: words for name, words in SPEC.items() if name != "init"}))
    outcome = hourglass("train", str(spec), table, "--out", "trained", cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    init = json.loads((tmp_path / "trained" / "model.json").read_text())["spec"]["init"]["name"]
    # The race's best is said first.
    assert re.search(r"auto: (\w+): 18 steps ", outcome.stderr).group(1) == init  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"init": "ortogonal"}, "init: .*orthogonal"),
        ({"training": {"epochs": 0}}, r"training\.epochs: "),
        ({"objective": {"loss": "bce"}}, r"objective\.loss: bce needs"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_at_its_field(
    words: dict[str, object], said: str, tmp_path: Path
) -> None:
    outcome = hourglass("train", str(_spec(tmp_path, **words)), str(_table(tmp_path)), cwd=tmp_path)
    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr
    last = outcome.stderr.strip().splitlines()[-1]
    assert re.search(said, last), last
    assert not (tmp_path / "model").exists()


def test_a_wrong_cell_is_refused_at_its_place(tmp_path: Path) -> None:
    file = _table(tmp_path)
    file.write_text(file.read_text().replace("x,y,z,w\n", "x,y,z,w\n0,0,oops,0\n"))
    outcome = hourglass("train", str(_spec(tmp_path)), str(file), cwd=tmp_path)
    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr
    assert "z" in outcome.stderr


def test_files_that_are_not_there_and_folders_that_are_taken_are_refused(tmp_path: Path) -> None:
    spec, table = _spec(tmp_path), _table(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("")
    for words, said in (
        (("none.json", str(table)), "none.json"),
        ((str(spec), "none.csv"), "none.csv"),
        ((str(table), str(table)), "is not JSON"),
        ((str(spec), str(table), "--out", "taken"), "exists already"),
    ):
        outcome = hourglass("train", *words, cwd=tmp_path)
        assert outcome.returncode == 2
        assert said in outcome.stderr
        assert outcome.stderr.count("\n") == 1


def test_a_diagnosis_says_its_verdict_and_every_layer(tmp_path: Path) -> None:
    outcome = hourglass("diagnose", str(_spec(tmp_path)), "--data", str(_table(tmp_path)), cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert re.match("(learns|slow|stuck|diverges): .", outcome.stdout)
    for words in ("encoder.0", "decoder.output", "effective rank", "PCA at this code size"):
        assert words in outcome.stdout


def test_a_diagnosis_takes_a_sample_by_name_and_refuses_what_is_none(tmp_path: Path) -> None:
    spec = str(_spec(tmp_path))
    assert hourglass("diagnose", spec, "--data", "blobs", cwd=tmp_path).returncode == 0
    refused = hourglass("diagnose", spec, "--data", "blob", cwd=tmp_path)
    assert refused.returncode == 2
    assert "digits" in refused.stderr
    assert "Traceback" not in refused.stderr
