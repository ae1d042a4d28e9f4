"""Keeps the device's certificate fresh: one renewal at a time, each failure told and tried again later.

The TLS key is made and stays here; the agent, who holds the signing key, proves that the request is this device's.
Nothing of the line stands on a renewal: it goes on with the pair that it has until the new one has connected.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from random import Random
from typing import NoReturn

from cryptography.hazmat.primitives.serialization import Encoding

from edge.channel.messages import CertificateTold
from edge.core.certificate import DateFault, RenewalState, Urgency, is_due, judge_dates, pause_s
from edge.link.cloud import NotRenewed, RenewalAsked, RenewalCloud, Renewed
from edge.link.credentials import Credentials, Identity, check_renewed, request_for
from edge.link.line import Line
from edge.link.told_clock import ToldClock
from shared.ids import DeviceId

LOOK_EVERY_S = 1.0  # a look compares a few numbers
FAILURES_MAX = 16  # where pauses stopped growing long ago

log = logging.getLogger(__name__)

Prove = Callable[[str, bytes], Awaitable[bytes | None]]
"""The agent's proof for a serial number and a request in DER, None when it gave none."""


class Renewal:
    """The renewals of one device, as long as somebody runs `keep`."""

    def __init__(
        self,
        *,
        device: DeviceId,
        ca: Path,
        credentials: Credentials,
        clock: ToldClock,
        cloud: RenewalCloud,
        line: Line,
        prove: Prove,
        tell: Callable[[CertificateTold], None],
        random: Random,
    ) -> None:
        self._device = device
        self._ca = ca
        self._credentials = credentials
        self._clock = clock
        self._cloud = cloud
        self._line = line
        self._prove = prove
        self._tell = tell
        self._random = random
        self._newest = credentials.newest()
        self._told: CertificateTold | None = None
        self._failures = 0
        self._reason: str | None = None
        self._urgency: Urgency | None = None
        self._next_s = 0.0

    async def keep(self) -> NoReturn:
        """Never returns."""
        while True:
            await self._look()
            await asyncio.sleep(LOOK_EVERY_S)

    def connected(self, *, is_renewed: bool) -> None:
        """The broker took a pair. When it was the new one, the old one is not needed any more."""
        if not is_renewed:
            return
        try:
            self._credentials.promote()
        except OSError as error:
            log.error("the renewed certificate could not be put in place", extra={"reason": error.strerror})
            return
        self._newest = self._credentials.newest()
        log.info("connected with the renewed certificate")

    async def _look(self) -> None:
        newest, instant = self._newest, self._clock.now()
        if newest is None:
            self._reason = "the certificate cannot be read"
            self._say(None, RenewalState.FAILED)
            return
        pair = self._credentials.renewed() or self._credentials.current()
        is_refused = self._line.refused == pair
        if not is_due(newest.dates, instant, is_refused=is_refused):
            self._failures, self._reason, self._urgency = 0, None, None
            self._say(newest, RenewalState.RENEWED if pair.is_renewed else RenewalState.CURRENT)
            return
        loop = asyncio.get_running_loop()
        urgency = self._judge_urgency(newest, instant, is_refused=is_refused)
        if urgency is not self._urgency:
            self._urgency = urgency
            self._plan(newest, urgency)
        if self._reason is None:
            self._say(newest, RenewalState.DUE)
        if loop.time() < self._next_s:
            return
        await self._try(newest, instant)

    async def _try(self, newest: Identity, instant: datetime | None) -> None:
        answer = await self._renew(newest, instant)
        if answer is None:
            log.info("the certificate is renewed")
            self._failures, self._reason, self._urgency = 0, None, None
            self._newest = self._credentials.newest()
            self._say(self._newest, RenewalState.RENEWED)
            self._line.reconnect()
            return
        if answer.reason != self._reason:
            log.warning("the certificate could not be renewed", extra={"reason": answer.reason})
        self._failures = FAILURES_MAX if answer.is_final else min(self._failures + 1, FAILURES_MAX)
        self._reason = answer.reason
        self._urgency = self._judge_urgency(newest, instant, is_refused=self._urgency is Urgency.ENDED)
        self._plan(newest, self._urgency)
        self._say(newest, RenewalState.FAILED)

    def _judge_urgency(self, newest: Identity, instant: datetime | None, *, is_refused: bool) -> Urgency:
        if is_refused or (instant is not None and judge_dates(newest.dates, instant) is DateFault.ENDED):
            return Urgency.ENDED
        return Urgency.FIRST if self._failures == 0 else Urgency.AGAIN

    def _plan(self, newest: Identity, urgency: Urgency) -> None:
        pause = pause_s(urgency, self._failures, newest.dates, self._random.random())
        self._next_s = asyncio.get_running_loop().time() + pause

    async def _renew(self, newest: Identity, instant: datetime | None) -> NotRenewed | None:
        """Why there is no renewed pair, None when there is."""
        try:
            key = self._credentials.key_to_certify()
            ca_pem = self._ca.read_bytes()
        except OSError as error:
            return NotRenewed(reason=f"a file cannot be used: {error.strerror}")
        request = request_for(key)
        proof = await self._prove(newest.serial, request.public_bytes(Encoding.DER))
        if proof is None:
            return NotRenewed(reason="the agent does not prove the request")
        asked = RenewalAsked(
            device=self._device,
            serial=newest.serial,
            csr_pem=request.public_bytes(Encoding.PEM).decode(),
            proof=proof.hex(),
        )
        answer = await _on_a_thread(lambda: self._cloud.renew(asked, instant))
        if isinstance(answer, NotRenewed):
            return answer
        unfit = check_renewed(
            answer.certificate_pem, key=key, device=self._device, ca_pem=ca_pem, instant=self._clock.now()
        )
        if unfit is not None:
            return NotRenewed(reason=unfit.reason)
        try:
            self._credentials.keep(answer.certificate_pem, key)
        except OSError as error:
            return NotRenewed(reason=f"the new certificate cannot be kept: {error.strerror}")
        return None

    def _say(self, newest: Identity | None, state: RenewalState) -> None:
        """The agent is told when it is news."""
        ends_ms = None if newest is None else newest.dates.ends_ms
        told = CertificateTold(ends_ms=ends_ms, renewal=state, reason=self._reason)
        if told != self._told:
            self._told = told
            self._tell(told)


async def _on_a_thread(work: Callable[[], Renewed | NotRenewed]) -> Renewed | NotRenewed:
    """What the work returns. Its thread is a daemon: whoever is told to end does not wait for a silent cloud."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Renewed | NotRenewed] = loop.create_future()

    def tell(answer: Renewed | NotRenewed) -> None:
        if not done.done():
            done.set_result(answer)

    def body() -> None:
        try:
            answer = work()
        except Exception:  # the top of the thread: a renewal is lost, the line must not be
            log.exception("a renewal ended by a fault of ours")
            answer = NotRenewed(reason="a fault of ours")
        with contextlib.suppress(RuntimeError):  # the loop may be gone
            loop.call_soon_threadsafe(tell, answer)

    threading.Thread(target=body, name="renewal", daemon=True).start()
    return await done
