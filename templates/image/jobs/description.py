"""The jobs API as an OpenAPI document, for `GET /api/v2/openapi.json`."""

from __future__ import annotations

from typing import Any

import submission

VERSION = "3.1.0"
TEXT: dict[str, Any] = {"type": "string"}
LINK = {"type": "string", "format": "uri"}
TIME = {"type": "string", "format": "date-time"}
COUNT = {"type": "integer", "minimum": 0}
STATE: dict[str, Any] = {"type": "string", "enum": ["pending", "running", "done", "failed"]}


def document(*, keys: bool, models: tuple[str, ...]) -> dict[str, Any]:
    """The whole document; with `keys`, operations ask for one."""
    described: dict[str, Any] = {
        "openapi": VERSION,
        "info": {"title": "paddock jobs API", "version": "1"},
        "paths": _paths(),
        "components": {
            "schemas": _schemas(models),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }
    if keys:
        described["security"] = [{"bearer": []}, {"header": []}]
    return described


def _named(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _schemas(models: tuple[str, ...]) -> dict[str, Any]:
    common = {
        "model": {"type": "string", "examples": list(models)},
        "pageRanges": {
            "type": "string",
            "examples": ["2,4-6"],
            "description": "From 1; each page is read once, in the document's order",
        },
        "batchId": {"type": "string", "maxLength": submission.MOST_NAME},
        "priority": {"type": "string", "enum": list(submission.PRIORITIES), "default": "normal"},
        "webhookUrl": {**LINK, "description": "Called once the job has ended; its host must be in JOBS_WEBHOOKS"},
    }
    options = "Options of /layout-parsing"
    return {
        "UploadedDocument": _object(
            ["file", "model"],
            file={"type": "string", "contentMediaType": "application/octet-stream"},
            optionalPayload={"type": "string", "contentMediaType": "application/json", "description": options},
            **common,
        ),
        "LinkedDocument": _object(
            ["fileUrl", "model"], fileUrl=LINK, optionalPayload={"type": "object", "description": options}, **common
        ),
        "Job": _object(
            ["jobId", "state", "model", "fileName", "createdAt"],
            jobId={"type": "string", "format": "uuid"},
            state=STATE,
            model=TEXT,
            fileName=TEXT,
            createdAt=TIME,
            batchId=TEXT,
            extractProgress=_object(
                ["totalPages", "extractedPages", "startTime", "endTime"],
                totalPages=COUNT,
                extractedPages=COUNT,
                startTime=TIME,
                endTime={"type": ["string", "null"], "format": "date-time"},
            ),
            errorMsg={**TEXT, "description": "When it failed: why"},
            cancelled={"type": "boolean", "description": "When it failed: whether its owner wanted that"},
            resultUrl={**_object(["jsonUrl"], jsonUrl=LINK), "description": "When it is done; needs no key"},
        ),
        "Refusal": _object(["code", "msg", "data"], code={"type": "integer"}, msg=TEXT, data={"type": "null"}),
    }


def _answer(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": "The answer",
        "content": {
            "application/json": {"schema": _object(["code", "msg", "data"], code={"const": 0}, msg=TEXT, data=data)}
        },
    }


def _operation(name: str, answer: dict[str, Any], *refused: int, key: bool = True, **more: Any) -> dict[str, Any]:
    told = {
        "description": "Refused; msg has the reason",
        "content": {"application/json": {"schema": _named("Refusal")}},
    }
    statuses = sorted({400, 421, 500, 503, *refused, *([401] if key else [])})
    return {
        "operationId": name,
        **({} if key else {"security": []}),
        **more,
        "responses": {"200": answer, **{str(status): told for status in statuses}},
    }


def _of_path(name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema or {"type": "string", "format": "uuid"}}


def _of_query(name: str, *, required: bool = False, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _paths() -> dict[str, Any]:
    jobs, job = "/api/v2/ocr/jobs", "/api/v2/ocr/jobs/{job}"
    one = _answer(_named("Job"))
    by_id = [_of_path("job")]
    many = {"type": "array", "items": _named("Job")}
    return {
        jobs: {
            "post": _operation(
                "submitJob",
                _answer(_object(["jobId"], jobId={"type": "string", "format": "uuid"})),
                408,
                409,
                413,
                429,
                507,
                parameters=[
                    {
                        "name": "Idempotency-Key",
                        "in": "header",
                        "schema": {"type": "string", "maxLength": 200},
                        "description": "The same submission with the same key is one job",
                    }
                ],
                requestBody={
                    "required": True,
                    "content": {
                        "multipart/form-data": {"schema": _named("UploadedDocument")},
                        "application/json": {"schema": _named("LinkedDocument")},
                    },
                },
            ),
            "get": _operation(
                "listJobs",
                _answer(_object(["jobs"], jobs=many)),
                parameters=[
                    {**_of_query("state"), "schema": STATE},
                    _of_query("limit", type="integer", minimum=1, maximum=200, default=50),
                    _of_query("before", type="string", format="uuid"),
                ],
            ),
        },
        job: {
            "get": _operation("getJob", one, 404, parameters=by_id),
            "delete": _operation(
                "deleteJob",
                _answer(_object(["jobId", "deleted"], jobId=TEXT, deleted={"const": True})),
                404,
                parameters=by_id,
            ),
        },
        f"{job}/cancel": {"post": _operation("cancelJob", one, 404, parameters=by_id)},
        f"{jobs}/batch/{{batch}}": {
            "get": _operation(
                "getBatch",
                _answer(_object(["batchId", "extractResult"], batchId=TEXT, extractResult=many)),
                parameters=[_of_path("batch", type="string")],
            )
        },
        "/api/v2/ocr/results/{job}/{name}": {
            "get": _operation(
                "getResult",
                {
                    "description": "`result.jsonl` has a line of JSON for each page; pictures are links of this kind",
                    "content": {"application/x-ndjson": {}, "image/*": {}, "application/octet-stream": {}},
                },
                403,
                410,
                key=False,
                parameters=[
                    *by_id,
                    _of_path("name", type="string"),
                    _of_query("expires", required=True, type="string"),
                    _of_query("signature", required=True, type="string"),
                ],
            )
        },
        "/api/v2/openapi.json": {
            "get": _operation(
                "getDescription", {"description": "This document", "content": {"application/json": {}}}, key=False
            )
        },
        "/health": {
            "get": _operation("checkHealth", _answer(_object(["healthy"], healthy={"const": True})), key=False)
        },
        "/health/ready": {
            "get": _operation(
                "checkReadiness",
                _answer(_object(["ready", "models"], ready={"const": True}, models={"type": "array", "items": TEXT})),
                key=False,
            )
        },
        "/metrics": {
            "get": _operation(
                "getMetrics", {"description": "Prometheus' text format", "content": {"text/plain": {}}}, key=False
            )
        },
    }
