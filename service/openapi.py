"""The interface's description, problems in RFC 9457's form; `python -m service.openapi` writes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.problems import MEDIA_TYPE, PROTOCOL_PATH, Problem, responses
from service.routes.inference_v2_wire import InferBody, ProtocolError
from service.routes.inference_wire import Rows, ScoredRows

_COMMON = (401, 403, 503)
_PROTOCOL_ERRORS = {
    "400": "The request cannot be answered.",
    "401": "A key is needed.",
    "403": "The key lacks the scope.",
    "404": "No such model, version or alias.",
    "413": "The body is too large.",
    "501": "Not offered here.",
    "503": "Not now.",
}
_DESCRIPTION = """\
Errors are `application/problem+json` (RFC 9457) and carry the request's id. Lists are keyset pages:
`?limit=&after=`, answered with `{items, next}`. POSTs that create take an `Idempotency-Key`. Jobs,
studies and models have an `ETag`.
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
    for model in (Problem, ProtocolError, InferBody, Rows, ScoredRows):
        told = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(told.pop("$defs", {}))
        schemas[model.__name__] = told
    _put_defaults_in_words(schemas)
    for path, operations in made["paths"].items():
        for operation in operations.values():
            if path.startswith(PROTOCOL_PATH):
                _say_errors(operation)
            else:
                _say_problems(operation, guarded=path.startswith("/v1"))
    # FastAPI's own shape of a 422 is never answered here.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    return made


def _put_defaults_in_words(part: Any) -> None:
    """Say a default that is an object in the description: generators of clients take plain values alone."""
    if isinstance(part, list):
        for item in part:
            _put_defaults_in_words(item)
    elif isinstance(part, dict):
        if isinstance(part.get("default"), dict) and ("anyOf" in part or "oneOf" in part or "$ref" in part):
            default = json.dumps(part.pop("default"))
            part["description"] = f"{part.get('description', '')} Left out: `{default}`.".strip()
        for item in part.values():
            _put_defaults_in_words(item)


def _say_problems(operation: dict[str, Any], *, guarded: bool) -> None:
    answers = operation["responses"]
    if "422" in answers and MEDIA_TYPE not in answers["422"].get("content", {}):
        answers.update({str(status): entry for status, entry in responses(422).items()})
    if guarded:
        for status, entry in responses(*_COMMON).items():
            answers.setdefault(str(status), entry)
    operation["responses"] = dict(sorted(answers.items()))


def _say_errors(operation: dict[str, Any]) -> None:
    """The errors of the Open Inference Protocol, which are its own."""
    answers = operation["responses"]
    answers.pop("422", None)
    if "security" in operation:
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/ProtocolError"}}}
        for status, description in _PROTOCOL_ERRORS.items():
            answers.setdefault(status, {"description": description, "content": content})
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
