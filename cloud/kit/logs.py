"""Logs as JSON lines, without personal data: what a field is called decides whether its value may be seen.

Dropping by name is a net under the rule that such values are not logged in the first place; secrets are also known
by their prefix, wherever they stand, tracebacks included.
"""

import logging
import re
from collections.abc import Mapping
from typing import Final, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

DROPPED = "[dropped]"

# Parts of a field name, split at underscores and hyphens: `member_token`, `x-api-key` and `nickname` all match.
PRIVATE_WORDS: Final = frozenset(
    {
        "authorization",
        "body",
        "card",
        "cookie",
        "credential",
        "credentials",
        "email",
        "evidence",
        "face",
        "image",
        "key",
        "keys",
        "member",
        "name",
        "nickname",
        "password",
        "phone",
        "probe",
        "secret",
        "seed",
        "surname",
        "template",
        "templates",
        "token",
        "tokens",
    }
)
# API tokens, member credentials (base45 after the prefix) and PEM blocks.
SECRET_TEXT: Final = re.compile(
    r"dst_[\w-]+|DS1:[0-9A-Z $%*+./:-]+|-----BEGIN [^-]+-----(?:.|\n)*?(?:-----END [^-]+-----|\Z)"
)


def set_up_logs(stream: TextIO, level: str) -> None:
    """Sends every log line of the process, the libraries' too, to the stream. Called once, by app.py."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        drop_private,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def drop_private(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """The line without what must not be seen; what the logging library keeps for itself (`_record`) stays."""
    return {name: value if name.startswith("_") else _public(name, value) for name, value in fields.items()}


def _public(name: str, value: object) -> object:
    if PRIVATE_WORDS.intersection(re.split(r"[_\-\s]+", name.lower())):
        return DROPPED
    return _masked(value)


def _masked(value: object) -> object:
    match value:
        case str():
            return SECRET_TEXT.sub(DROPPED, value)
        case bytes() | bytearray() | memoryview():
            return DROPPED
        case Mapping():
            return {str(name): _public(str(name), inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked(inner) for inner in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return SECRET_TEXT.sub(DROPPED, str(value))
