"""Counts SIP messages (RFC 3261) and the calls that they make up."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

METHODS = frozenset(
    "ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE".split()
)
OTHER_METHOD = "other"
_CALL_METHODS = frozenset({"INVITE", "ACK", "BYE", "CANCEL"})

# Both bound what a hostile sender can make us remember.
MOST_CALLS = 200_000
LONGEST_CALL_ID = 256

_REQUEST = re.compile(rb"([A-Za-z0-9.!%*_+`'~-]{1,32}) [^ \r\n]+ SIP/2\.0\r?\n")
_RESPONSE = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_SPACE = rb"(?:[ \t]|\r?\n[ \t])*"
_CALL_ID = re.compile(rb"^(?:call-id|i)[ \t]*:" + _SPACE + rb"([^\s]+)", re.IGNORECASE | re.MULTILINE)
_CSEQ = re.compile(
    rb"^cseq[ \t]*:" + _SPACE + rb"([0-9]{1,10})[ \t]" + _SPACE + rb"([^\s]{1,32})",
    re.IGNORECASE | re.MULTILINE,
)


class Message(NamedTuple):
    """`method` is the request's own, or the one that a response answers ("" if its CSeq cannot be read).

    `status` is 0 for a request; `call_id` is empty and `cseq` is 0 where they cannot be read.
    """

    method: str
    status: int
    call_id: bytes
    cseq: int


def parse(payload: bytes) -> Message | None:
    """None if `payload` does not begin with a SIP start line. Never raises, whatever the bytes are."""
    request = _REQUEST.match(payload)
    response = None if request else _RESPONSE.match(payload)
    start_line = request or response
    if start_line is None:
        return None
    headers = _headers(payload, start_line.end())
    call_id = _CALL_ID.search(headers)
    cseq = _CSEQ.search(headers)
    method = request[1] if request else cseq[2] if cseq else b""
    return Message(
        method.decode("ascii", "replace"),
        int(response[1]) if response else 0,
        call_id[1][:LONGEST_CALL_ID] if call_id else b"",
        int(cseq[1]) if cseq else 0,
    )


def _headers(payload: bytes, start: int) -> bytes:
    blank = _BLANK_LINE.search(payload, start - 1)
    return payload[start : blank.start() + 1 if blank else len(payload)]


@dataclass(slots=True)
class Call:
    answered: bool = False
    ended: bool = False
    failed_cseq: int | None = None

    def add(self, message: Message) -> None:
        if message.method == "BYE":
            self.ended = True
        elif message.method == "INVITE":
            self._add_invite(message)

    def _add_invite(self, message: Message) -> None:
        if 200 <= message.status < 300:
            self.answered = True
        elif message.status >= 300:
            self.failed_cseq = message.cseq
        elif self.failed_cseq is not None and message.cseq > self.failed_cseq:
            # A new attempt, as after 401 or 407. A repeated request, as mirrors give, has the old number.
            self.failed_cseq = None

    @property
    def failed(self) -> bool:
        return self.failed_cseq is not None and not self.answered


@dataclass
class SipSummary:
    """A call is a Call-ID that INVITE, ACK, BYE or CANCEL came with. Copies and repeats count as messages."""

    methods: Counter[str] = field(default_factory=Counter)
    responses: Counter[int] = field(default_factory=Counter)
    calls: dict[bytes, Call] = field(default_factory=dict)
    untracked_messages: int = 0

    def add(self, message: Message) -> None:
        if message.status:
            self.responses[message.status] += 1
        else:
            self.methods[message.method if message.method in METHODS else OTHER_METHOD] += 1
        if message.method in _CALL_METHODS and message.call_id:
            self._add_to_call(message)

    def _add_to_call(self, message: Message) -> None:
        call = self.calls.get(message.call_id)
        if call is None:
            if len(self.calls) >= MOST_CALLS:
                self.untracked_messages += 1
                return
            call = self.calls[message.call_id] = Call()
        call.add(message)

    @property
    def answered(self) -> int:
        return sum(call.answered for call in self.calls.values())

    @property
    def failed(self) -> int:
        return sum(call.failed for call in self.calls.values())

    @property
    def ended(self) -> int:
        return sum(call.ended for call in self.calls.values())
