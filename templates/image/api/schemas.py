"""PaddleX's schemas of requests and answers (3.7.2), in which a page may have problems."""

from __future__ import annotations

from typing import Any

from paddlex.inference.serving.schemas import paddleocr_vl
from pydantic import BaseModel, create_model

from problems import Kind, Severity


class PageProblem(BaseModel):
    """An entry of a page's `problems`, as problems.Problem says it."""

    kind: Kind
    severity: Severity
    message: str


def extended(model: Any, **fields: Any) -> Any:
    """A schema of PaddleX's with more or other fields, under its name."""
    return create_model(model.__name__, __base__=model, **fields)


def several(model: Any) -> Any:
    """A field that must be there: a list of `model`."""
    return (list[model], ...)


PROBLEMS = (list[PageProblem] | None, None)
InferRequest = paddleocr_vl.InferRequest
LayoutParsingResult = extended(paddleocr_vl.LayoutParsingResult, problems=PROBLEMS)
InferResult = extended(paddleocr_vl.InferResult, layoutParsingResults=several(LayoutParsingResult))
Page = extended(paddleocr_vl.Page, problems=PROBLEMS)
RestructurePagesRequest = extended(paddleocr_vl.RestructurePagesRequest, pages=several(Page))
RestructurePagesResult = extended(
    paddleocr_vl.RestructurePagesResult, layoutParsingResults=several(LayoutParsingResult)
)
