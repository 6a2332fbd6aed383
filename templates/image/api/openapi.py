"""The service as an OpenAPI document, made of PaddleX's own schemas and of what is different here."""

from __future__ import annotations

import json
from typing import Any

VERSION = "3.1.0"


def description(*, keys: bool) -> bytes:
    """The document for `GET /openapi.json`; with `keys`, operations ask for one."""
    from paddlex.inference.serving.infra.models import AIStudioNoResultResponse, AIStudioResultResponse
    from pydantic.json_schema import models_json_schema

    import schemas

    operations = {
        "/layout-parsing": ("infer", schemas.InferRequest, AIStudioResultResponse[schemas.InferResult]),
        "/restructure-pages": (
            "restructurePages",
            schemas.RestructurePagesRequest,
            AIStudioResultResponse[schemas.RestructurePagesResult],
        ),
    }
    wanted: list[Any] = [(AIStudioNoResultResponse, "serialization")]
    for _, request, result in operations.values():
        wanted += [(request, "validation"), (result, "serialization")]
    named, definitions = models_json_schema(wanted, ref_template="#/components/schemas/{model}")

    def content(model: Any, mode: str) -> dict[str, Any]:
        return {"application/json": {"schema": named[(model, mode)]}}

    refused = {
        "description": "Refused; errorMsg has the reason",
        "content": content(AIStudioNoResultResponse, "serialization"),
    }
    statuses = ("400", "401", "408", "413", "415", "421", "422", "500", "503", "504")
    paths: dict[str, Any] = {
        path: {
            "post": {
                "operationId": name,
                "requestBody": {"required": True, "content": content(request, "validation")},
                "responses": {
                    "200": {"description": "The result", "content": content(result, "serialization")},
                    **dict.fromkeys(statuses, refused),
                },
            }
        }
        for path, (name, request, result) in operations.items()
    }
    paths["/health"] = {
        "get": {"operationId": "checkHealth", "security": [], "responses": {"200": {"description": "It runs"}}}
    }
    paths["/health/ready"] = {
        "get": {
            "operationId": "checkReadiness",
            "security": [],
            "responses": {
                "200": {"description": "It can read documents"},
                "503": {"description": "It cannot; reason says why"},
            },
        }
    }
    document: dict[str, Any] = {
        "openapi": VERSION,
        "info": {"title": "paddock pipeline API", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }
    if keys:
        document["security"] = [{"bearer": []}, {"header": []}]
    return json.dumps(document).encode()
