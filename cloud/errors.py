"""The tree of what can go wrong in the cloud. Errors carry data; the sentence for a person is made where one reads it.

CloudError
├── DatabaseRefused      the database address is not one the service can keep a promise on
├── EntryMalformed       somebody built a journal entry that cannot stand: unbalanced, empty, across tenants
└── ProblemError         a request ends with an RFC 9457 problem instead of its answer

Refusals, rejections and conflicts are values (ledger outcomes, claim verdicts), not members of this tree.
"""

from collections.abc import Mapping
from dataclasses import dataclass


class CloudError(Exception):
    """The root: catching it means catching what this service raises itself and nothing else."""


class DatabaseRefused(CloudError):
    """The database address names something that cannot hold the ledger; `reason` says what."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EntryMalformed(CloudError):
    """A journal entry was built that cannot stand. `reason` is a fixed phrase, `field` the part it is about."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(reason, field)
        self.reason = reason
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemKind:
    """One kind of problem: `name` ends its stable type URI (urn:doorstep:problem:<name>), `title` never varies."""

    name: str
    status: int
    title: str


class ProblemError(CloudError):
    """The request ends with this problem. `detail` may be read by a stranger: no id, token or name goes in."""

    def __init__(
        self, kind: ProblemKind, detail: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(kind.name, detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
