"""The interface's description, problems in RFC 9457's form; `python -m service.openapi` writes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.problems import MEDIA_TYPE, Problem, responses

_COMMON = (401, 403, 503)
_DESCRIPTION = """\
Errors are `application/problem+json` (RFC 9457) and carry the request's id. Lists are keyset pages:
`?limit=&after=`, answered with `{items, next}`. POSTs that create take an `Idempotency-Key`. Jobs and
models have an `ETag`.
"""


def install(app: FastAPI) -> None:
    """Have the application describe itself so."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's own way to replace it


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the application."""
    made = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=_DESCRIPTION, routes=app.routes
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for path, operations in made["paths"].items():
        for operation in operations.values():
            _say_problems(operation, guarded=path.startswith("/v1"))
    # FastAPI's own shape of a 422 is never answered here.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    return made


def _say_problems(operation: dict[str, Any], *, guarded: bool) -> None:
    answers = operation["responses"]
    if "422" in answers and MEDIA_TYPE not in answers["422"].get("content", {}):
        answers.update({str(status): entry for status, entry in responses(422).items()})
    if guarded:
        for status, entry in responses(*_COMMON).items():
            answers.setdefault(str(status), entry)
    operation["responses"] = dict(sorted(answers.items()))


def text() -> str:
    """The document as it is kept in the repository: the same bytes for the same code."""
    from service.app import assemble
    from service.settings import ServiceSettings

    made = document(assemble(ServiceSettings.model_construct(**_defaults())))
    return json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _defaults() -> dict[str, Any]:
    """The defaults alone: no variable of the environment may show in the document."""
    from service.settings import ServiceSettings

    return {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in ServiceSettings.model_fields.items()
    }


def main(arguments: list[str]) -> None:
    """Write the document to the file that is named, or to standard output."""
    if arguments:
        Path(arguments[0]).write_text(text(), encoding="utf-8")
    else:
        sys.stdout.write(text())


if __name__ == "__main__":
    main(sys.argv[1:])
