"""JSON Schema of the language, for those who integrate from other languages."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from okienko import schemas
from okienko.schemas.base import Model


def json_schema() -> dict[str, Any]:
    """One JSON Schema 2020-12 document with every model under `$defs`."""
    exported = (getattr(schemas, name) for name in schemas.__all__)
    models = [m for m in exported if isinstance(m, type) and issubclass(m, Model) and m is not Model]
    _, document = models_json_schema(
        [(model, "serialization") for model in models], title="okienko", ref_template="#/$defs/{model}"
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}
