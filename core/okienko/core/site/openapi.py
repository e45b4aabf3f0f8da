"""The OpenAPI 3.1 document of the JSON API, made from the same table that its routes are made from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from okienko.core.site.problems import MEDIA_TYPE, Problem

PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the API."""

    name: str
    """operationId, and the name of the method that does it."""
    method: str
    path: str
    """Below PREFIX, as Starlette writes it."""
    summary: str
    answer: type[BaseModel]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    problems: tuple[int, ...] = (401, 403, 503)


def template(path: str) -> str:
    """Starlette's `{id:uuid}` is OpenAPI's `{id}`."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path)


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document."""
    operations = list(operations)
    models: list[tuple[type[BaseModel], Literal["serialization", "validation"]]] = [(Problem, "serialization")]
    for operation in operations:
        models.append((operation.answer, "serialization"))
        if operation.body is not None:
            models.append((operation.body, "validation"))
    _, definitions = models_json_schema(list(dict.fromkeys(models)), ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(PREFIX + template(operation.path), {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "okienko: reset actions",
            "version": version("okienko"),
            "description": "Look at reset actions and decide about them; type what signed applications say that could not "
            "be read. A call is made with an access token of the "
            "identity provider, or with the cookie of a session and the header X-CSRF-Token.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-okienko"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": "Done", "content": {"application/json": {"schema": _ref(operation.answer)}}}
    }
    for status in operation.problems:
        responses[str(status)] = {"description": "See the problem", "content": {MEDIA_TYPE: {"schema": _ref(Problem)}}}
    described: dict[str, Any] = {
        "operationId": operation.name, "summary": operation.summary, "responses": responses,
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation.query), *_csrf(operation)],
    }  # fmt: skip
    if operation.body is not None:
        described["requestBody"] = {
            "required": True, "content": {"application/json": {"schema": _ref(operation.body)}},
        }  # fmt: skip
    return described


def _path_parameters(path: str) -> list[Mapping[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": kind}}
        for name, kind in re.findall(r"\{(\w+):(\w+)\}", path)
    ]


def _query_parameters(model: type[BaseModel] | None) -> list[Mapping[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema()
    needed = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": part}
        for name, part in schema["properties"].items()
    ]


def _csrf(operation: Operation) -> list[Mapping[str, Any]]:
    if operation.method == "GET":
        return []
    return [
        {
            "name": "X-CSRF-Token", "in": "header", "required": False, "schema": {"type": "string"},
            "description": "Needed with a session; the call `session` gives it",
        }
    ]  # fmt: skip


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
