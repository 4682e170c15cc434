"""The pages: their links lead somewhere, and the jobs that they show are jobs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from autoencoders import study
from autoencoders.data.manifest import Facts
from autoencoders.spec import FAMILIES
from service.routes.job_wire import JobRequest
from service.routes.study_wire import StudyRequest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"])
BODY = re.compile(r"/v1/(?:jobs|diagnoses)[^|\n]*-d '(\{.*?\})'", re.DOTALL)
STUDY = re.compile(r"/v1/studies[^|\n]*-d '(\{.*?\})'", re.DOTALL)
STUDIES = [(page, text) for page in PAGES for text in STUDY.findall(page.read_text())]
JOBS = [(page, text) for page in PAGES for text in BODY.findall(page.read_text())]
DIGITS = Facts(
    shape=(8, 8), dtype="float32", rows=1797, training_rows=1617, held_out_rows=180, minimum=0.0, maximum=1.0
)


def ids(page: object) -> str:
    return str(page.relative_to(ROOT)) if isinstance(page, Path) else ""


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_pages_show_jobs() -> None:
    assert len({page for page, _ in JOBS}) >= 2


@pytest.mark.parametrize(("page", "text"), JOBS, ids=ids)
def test_every_job_that_a_page_shows_is_one(page: Path, text: str) -> None:
    JobRequest.model_validate(json.loads(text)).resolve(DIGITS).check(DIGITS)


def test_the_pages_show_studies() -> None:
    assert len({page for page, _ in STUDIES}) >= 2


@pytest.mark.parametrize(("page", "text"), STUDIES, ids=ids)
def test_every_study_that_a_page_shows_is_one(page: Path, text: str) -> None:
    body = StudyRequest.model_validate(json.loads(text))
    base = body.base.model_dump(mode="json", exclude_unset=True)
    study.plan(base, grid=body.grid, preset=body.preset, seeds=body.seeds or [0], facts=DIGITS)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_word_stands_in_the_catalog_page(family: str) -> None:
    page = (ROOT / "docs" / "catalog.md").read_text()
    for entry in FAMILIES[family]:
        assert f"### `{entry.name}`" in page


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    known = (ROOT / "docs" / "reference.md").read_text()
    for name in set(re.findall(r"HOURGLASS_[A-Z_]+[A-Z]", page.read_text())):
        assert f"`{name}`" in known, name
