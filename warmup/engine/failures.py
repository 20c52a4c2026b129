"""The one form of an error: OpenAI's object, with the HTTP status that its kind has."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from warmup.engine.messages import Failure, RequestError

RETRY_AFTER_S = 5


def get_status(failure: Failure) -> int:
    """The HTTP status of a failure: the user's 400, not now 503, ours 500."""
    return {"validation": 400, "unavailable": 503, "timeout": 503}.get(failure.kind, 500)


def error_response(failure: Failure) -> JSONResponse:
    """OpenAI's error object; `param` is the field."""
    status = get_status(failure)
    kind = "invalid_request_error" if status == 400 else f"{failure.kind}_error"
    error = {"message": failure.message, "type": kind, "param": failure.field, "code": status}
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    return JSONResponse({"error": error}, status, headers)


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(RequestError, _on_request_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Exception, _on_bug)


async def _on_request_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_response(error.failure)


async def _on_validation_error(_request: Request, error: Exception) -> Response:
    """FastAPI's own 422 becomes the 400 with a field that OpenAI's clients know."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query")]
    return error_response(Failure("validation", str(first["msg"]), ".".join(where) or None))


async def _on_bug(_request: Request, error: Exception) -> Response:
    """Starlette logs the traceback; the caller gets the shape it knows."""
    return error_response(Failure("internal", f"{type(error).__name__}: {error}"))
