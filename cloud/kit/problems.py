"""Errors of the API as RFC 9457 problem details: one shape, stable type URIs, never a stack trace or a sent value.

A domain declares its own `ProblemKind` constants beside its api.py and raises `ProblemError(KIND)`.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cloud.errors import EntryMalformed, ProblemError, ProblemKind

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:doorstep:problem:"
FAULTS_MAX = 20  # of one answer: a body with ten thousand wrong fields is wrong all the same

UNAUTHENTICATED: Final = ProblemKind(name="unauthenticated", status=401, title="A valid bearer token is needed")
MISSING_SCOPE: Final = ProblemKind(name="missing-scope", status=403, title="The token does not allow this")
NOT_FOUND: Final = ProblemKind(name="not-found", status=404, title="There is no such thing here")
BODY_TOO_LARGE: Final = ProblemKind(name="body-too-large", status=413, title="The request body is too large")
INVALID_REQUEST: Final = ProblemKind(name="invalid-request", status=422, title="The request is not valid")
INTERNAL: Final = ProblemKind(name="internal", status=500, title="The service failed; nothing was changed")

_log = structlog.stdlib.get_logger(__name__)


class Fault(BaseModel):
    """One field that is wrong, by its path in the request, and the rule it breaks."""

    field: str
    reason: str


class Problem(BaseModel):
    """The problem details document of RFC 9457. `faults` names the fields of an invalid request."""

    type: str
    title: str
    status: int
    detail: str | None = None
    faults: tuple[Fault, ...] | None = None


class ProblemResponse(Response):
    """A problem on its way out."""

    media_type = MEDIA_TYPE


def describe(kind: ProblemKind, detail: str | None = None, faults: Sequence[Fault] = ()) -> Problem:
    """The document for a problem of this kind."""
    return Problem(
        type=TYPE_PREFIX + kind.name,
        title=kind.title,
        status=kind.status,
        detail=detail,
        faults=tuple(faults[:FAULTS_MAX]) or None,
    )


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> ProblemResponse:
    """The response that carries the document."""
    return ProblemResponse(problem.model_dump_json(exclude_none=True), problem.status, dict(headers or {}))


def document(*kinds: ProblemKind) -> dict[int | str, dict[str, Any]]:  # Any: FastAPI's own type for `responses`
    """What a route passes as `responses`, so that the API's description names the problems it may answer with."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        kind.status: {"description": kind.title, "model": Problem, "content": {MEDIA_TYPE: {"schema": schema}}}
        for kind in kinds
    }


def install_problems(app: FastAPI) -> None:
    """Makes every error of the app a problem."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(EntryMalformed, _on_malformed_entry)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(DataError, _on_unstorable)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_failure)


def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return respond(describe(error.kind, error.detail), error.headers)


def _on_malformed_entry(_: Request, error: Exception) -> Response:
    assert isinstance(error, EntryMalformed)
    return respond(describe(INVALID_REQUEST, faults=[Fault(field=error.field, reason=error.reason)]))


def _on_invalid(_: Request, error: Exception) -> Response:
    """Names field and rule; the value that was sent is not repeated, since it may be somebody's."""
    assert isinstance(error, RequestValidationError)
    faults = [Fault(field=".".join(map(str, fault["loc"])), reason=fault["msg"]) for fault in error.errors()]
    return respond(describe(INVALID_REQUEST, faults=faults))


def _on_http(_: Request, error: Exception) -> Response:
    """What the framework refuses by itself: unknown paths, wrong methods, unreadable bodies."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    kind = ProblemKind(name=status.phrase.lower().replace(" ", "-"), status=status.value, title=status.phrase)
    known = {NOT_FOUND.status: NOT_FOUND, BODY_TOO_LARGE.status: BODY_TOO_LARGE}
    return respond(describe(known.get(status.value, kind)), error.headers)


def _on_unstorable(_: Request, __: Exception) -> Response:
    """A value no column can hold, such as a text with a NUL in it, which only the database notices."""
    return respond(describe(INVALID_REQUEST))


def _on_disconnect(_: Request, __: Exception) -> Response:
    """An answer nobody hears; it keeps a client that hung up from looking like a failure of ours."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


def _on_failure(_: Request, error: Exception) -> Response:
    _log.error("request failed", exc_info=error)
    return respond(describe(INTERNAL))
