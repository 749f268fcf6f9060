"""Reads requests: every field that is not valid is named, then the service sees only what is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from tracestatus.v1 import status_service_pb2 as pb
from tracestatus.v1 import trace_pb2

from status_grpc.domain.errors import FieldViolation, InvalidArgument
from status_grpc.domain.events import Dataset, EventDraft
from status_grpc.domain.limits import Limits
from status_grpc.domain.validation import DraftRules, check_filter, check_id, check_path, raise_if_any
from status_grpc.service.following import Cursor, Target
from status_grpc.service.lineage import LineageQuery
from status_grpc.service.traces import Creation, Update
from status_grpc.storage.listing import TraceFilter
from status_grpc.wire.events import decode_draft, decode_trace_event_status, decode_trace_status
from status_grpc.wire.lineage import decode_direction
from status_grpc.wire.parsing import Malformed, parser
from status_grpc.wire.times import decode_duration, decode_time
from status_grpc.wire.tokens import number_in_token, read_page_token, text_in_token, time_in_token

M = TypeVar("M", bound=Message)

_DEFAULT_PAGE, _LARGEST_PAGE = 100, 1000
_DEFAULT_LISTING, _LARGEST_LISTING = 50, 500
_DEFAULT_EDGES_PAGE, _LARGEST_EDGES_PAGE = 500, 1000
_DEFAULT_EDGES, _LARGEST_EDGES = 1000, 10_000
_DEFAULT_DEPTH, _LARGEST_DEPTH = 100, 200
_DEFAULT_WAIT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """GetTrace: which events."""

    trace_id: str
    count: int
    #: The cursor of the query, part of what its page tokens are bound to.
    after_sequence: int
    #: Where this page begins.
    position: int

    @property
    def query(self) -> tuple[object, ...]:
        """What its page tokens are bound to."""
        return ("GetTrace", self.trace_id, self.after_sequence)


@dataclass(frozen=True, slots=True)
class ListRequest:
    """ListTraces: which traces."""

    wanted: TraceFilter
    count: int
    before: tuple[datetime, str] | None

    @property
    def query(self) -> tuple[object, ...]:
        """What its page tokens are bound to."""
        return ("ListTraces", self.wanted)


@dataclass(frozen=True, slots=True)
class LineageRequest:
    """GetLineage: which edges."""

    wanted: LineageQuery
    count: int
    #: How many edges earlier pages had, and until when the first one looked; None for the first one.
    skip: int = 0
    as_of: datetime | None = None

    @property
    def query(self) -> tuple[object, ...]:
        """What its page tokens are bound to."""
        return ("GetLineage", self.wanted)


class Requests:
    """Decodes requests by one set of limits. Every method raises InvalidArgument with all violations it found."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._rules = DraftRules(limits)

    def parser(self, kind: type[M]) -> Callable[[bytes], M | Malformed[M]]:
        """Return the parser for one type of request, which never raises."""
        most_entries = {"requests": self._limits.batch_items} if kind is pb.BatchUpdateRequest else None
        return parser(kind, most_entries)

    def create(self, request: pb.CreateRequest) -> Creation:
        """Return the first event, with the trace id it shall have (if any), and the trace's expire_time."""
        violations: list[FieldViolation] = []
        draft = self._draft(request.event, violations)
        self._rules.check_create(draft, violations)
        trace_id = request.trace_id
        if trace_id and trace_id != draft.trace_id:
            check_id("trace_id", trace_id, self._limits, violations)
            if draft.trace_id:
                violations.append(FieldViolation("trace_id", "is not the same as event.trace_id"))
            draft = replace(draft, trace_id=trace_id)
        expire_time = _time("expire_time", request, violations)
        raise_if_any(violations)
        return Creation(draft, expire_time)

    def update(self, request: pb.UpdateRequest) -> Update:
        """Return the event to append, with its conditions."""
        violations: list[FieldViolation] = []
        draft = self._draft(request.event, violations)
        self._rules.check_update(draft, violations)
        expected = request.expected_sequence if request.HasField("expected_sequence") else None
        if expected is not None and expected < 0:
            violations.append(FieldViolation("expected_sequence", "must not be negative"))
        expire_time = _time("expire_time", request, violations)
        if violations:
            raise InvalidArgument(violations)
        return Update(draft, expected, request.new_run, expire_time)

    def batch_update(self, request: pb.BatchUpdateRequest) -> list[Update | InvalidArgument]:
        """Return each update, or why it is not valid: one bad item fails alone."""
        items = request.requests
        if not items:
            raise InvalidArgument([FieldViolation("requests", "is empty")])
        if len(items) > self._limits.batch_items:
            excess = f"has {len(items)} entries, more than {self._limits.batch_items}"
            raise InvalidArgument([FieldViolation("requests", excess)])
        return [self._item(index, item) for index, item in enumerate(items)]

    def _item(self, index: int, item: pb.UpdateRequest) -> Update | InvalidArgument:
        try:
            return self.update(item)
        except InvalidArgument as error:
            return error.under(f"requests[{index}]")

    def _draft(self, message: trace_pb2.TraceEvent, violations: list[FieldViolation]) -> EventDraft:
        size = message.ByteSize()
        if size > self._limits.event_bytes:
            # Not even decoded: that would take as long as it is large.
            raise InvalidArgument(
                [FieldViolation("event", f"takes {size} bytes, more than {self._limits.event_bytes}")]
            )
        return decode_draft(message, self._limits, violations, encoded_bytes=size)

    def heartbeat(self, request: pb.HeartbeatRequest) -> str:
        """Return the trace id."""
        violations: list[FieldViolation] = []
        check_id("trace_id", request.trace_id, self._limits, violations)
        if request.step_id:
            check_id("step_id", request.step_id, self._limits, violations)
        raise_if_any(violations)
        return request.trace_id

    def get_trace(self, request: pb.GetTraceRequest) -> PageRequest:
        """Return which events of which trace are asked for."""
        violations: list[FieldViolation] = []
        check_id("trace_id", request.trace_id, self._limits, violations)
        count = _page_size(request.page_size, _DEFAULT_PAGE, _LARGEST_PAGE, violations)
        if request.after_sequence < 0:
            violations.append(FieldViolation("after_sequence", "must not be negative"))
        raise_if_any(violations)
        page = PageRequest(request.trace_id, count, request.after_sequence, request.after_sequence)
        if not request.page_token:
            return page
        (position,) = read_page_token(page.query, request.page_token, number_in_token)
        return replace(page, position=position)

    def get_by_path(self, request: pb.GetByPathRequest) -> tuple[str, str, str]:
        """Return path, domain and domain id."""
        violations: list[FieldViolation] = []
        check_path("s3_path", request.s3_path, self._limits, violations)
        self._check_filters(violations, domain=request.domain)
        check_filter("domain_id", request.domain_id, self._limits.domain_id_length, violations)
        raise_if_any(violations)
        return request.s3_path, request.domain, request.domain_id

    def stream_trace(self, request: pb.StreamTraceRequest) -> tuple[Target, Cursor]:
        """Return what to follow and from where."""
        violations: list[FieldViolation] = []
        target = self._target(request, violations)
        sequence, event_id = request.after_sequence, request.after_event_id
        if sequence < 0:
            violations.append(FieldViolation("after_sequence", "must not be negative"))
        if sequence and request.WhichOneof("target") == "s3_path":
            violations.append(FieldViolation("after_sequence", "needs trace_id: a path may mean another trace by now"))
        if event_id and sequence == 0:
            violations.append(FieldViolation("after_event_id", "needs after_sequence"))
        if event_id:
            check_id("after_event_id", event_id, self._limits, violations)
        raise_if_any(violations)
        return target, Cursor(sequence, event_id)

    def wait_trace(self, request: pb.WaitTraceRequest) -> tuple[Target, timedelta]:
        """Return what to wait for, and for how long the caller would."""
        violations: list[FieldViolation] = []
        target = self._target(request, violations)
        timeout: timedelta | None = _DEFAULT_WAIT
        if request.HasField("timeout"):
            timeout = decode_duration("timeout", request.timeout, violations)
        raise_if_any(violations)
        assert timeout is not None
        return target, timeout

    def _target(self, request: pb.StreamTraceRequest | pb.WaitTraceRequest, violations: list[FieldViolation]) -> Target:
        created_after = _time("created_after", request, violations)
        kind = request.WhichOneof("target")
        if kind == "trace_id":
            check_id("trace_id", request.trace_id, self._limits, violations)
            for field, given in (("new_only", request.new_only), ("created_after", created_after is not None)):
                if given:
                    violations.append(FieldViolation(field, "needs s3_path: a trace id names one trace"))
        elif kind == "s3_path":
            check_path("s3_path", request.s3_path, self._limits, violations)
        else:
            violations.append(FieldViolation("trace_id", "is required, or else s3_path"))
        return Target(
            trace_id=request.trace_id,
            s3_path=request.s3_path,
            wait_for_trace=request.wait_for_trace,
            new_only=request.new_only,
            created_after=created_after,
        )

    def list_traces(self, request: pb.ListTracesRequest) -> ListRequest:
        """Return which traces are asked for."""
        violations: list[FieldViolation] = []
        self._check_filters(violations, domain=request.domain, user=request.user, component=request.component)
        check_filter("domain_id", request.domain_id, self._limits.domain_id_length, violations)
        wanted = TraceFilter(
            domain=request.domain,
            domain_id=request.domain_id,
            user=request.user,
            component=request.component,
            status=decode_trace_status("status", request.status, violations),
            outcome=decode_trace_event_status("outcome", request.outcome, violations),
            created_after=_time("created_after", request, violations),
            created_before=_time("created_before", request, violations),
            updated_after=_time("updated_after", request, violations),
            updated_before=_time("updated_before", request, violations),
        )
        count = _page_size(request.page_size, _DEFAULT_LISTING, _LARGEST_LISTING, violations)
        raise_if_any(violations)
        listing = ListRequest(wanted, count, None)
        if not request.page_token:
            return listing
        created, trace_id = read_page_token(listing.query, request.page_token, time_in_token, text_in_token)
        return replace(listing, before=(created, trace_id))

    def get_lineage(self, request: pb.GetLineageRequest) -> LineageRequest:
        """Return what to follow, which way, how far, and which page of it."""
        violations: list[FieldViolation] = []
        kind = request.WhichOneof("start")
        if kind == "trace_id":
            check_id("trace_id", request.trace_id, self._limits, violations)
            if request.version:
                violations.append(FieldViolation("version", "needs uri: a trace has no version"))
        elif kind == "uri":
            check_path("uri", request.uri, self._limits, violations)
            self._check_filters(violations, version=request.version)
        else:
            violations.append(FieldViolation("uri", "is required, or else trace_id"))
        wanted = LineageQuery(
            dataset=Dataset(request.uri, request.version),
            trace_id=request.trace_id,
            direction=decode_direction("direction", request.direction, violations),
            max_depth=_bounded("max_depth", request.max_depth, _DEFAULT_DEPTH, _LARGEST_DEPTH, violations),
            max_edges=_bounded("max_edges", request.max_edges, _DEFAULT_EDGES, _LARGEST_EDGES, violations),
        )
        count = _page_size(request.page_size, _DEFAULT_EDGES_PAGE, _LARGEST_EDGES_PAGE, violations)
        raise_if_any(violations)
        lineage = LineageRequest(wanted, count)
        if not request.page_token:
            return lineage
        as_of, skip = read_page_token(lineage.query, request.page_token, time_in_token, number_in_token)
        return replace(lineage, skip=skip, as_of=as_of)

    def _check_filters(self, violations: list[FieldViolation], **filters: str) -> None:
        for name, value in filters.items():
            check_filter(name, value, self._limits.name_length, violations)


def valid_updates(items: Sequence[Update | InvalidArgument]) -> list[Update]:
    """Return the items that are updates."""
    return [item for item in items if isinstance(item, Update)]


def _time(name: str, request: object, violations: list[FieldViolation]) -> datetime | None:
    if not request.HasField(name):  # type: ignore[attr-defined]
        return None
    message: Timestamp = getattr(request, name)
    return decode_time(name, message, violations)


def _page_size(size: int, default: int, largest: int, violations: list[FieldViolation]) -> int:
    return _bounded("page_size", size, default, largest, violations)


def _bounded(field: str, number: int, default: int, largest: int, violations: list[FieldViolation]) -> int:
    if number < 0:
        violations.append(FieldViolation(field, "must not be negative"))
    return min(number, largest) or default
