import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TraceStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRACE_STATUS_UNSPECIFIED: _ClassVar[TraceStatus]
    TRACE_STATUS_STARTED: _ClassVar[TraceStatus]
    TRACE_STATUS_CONTINUE: _ClassVar[TraceStatus]
    TRACE_STATUS_FINISHED: _ClassVar[TraceStatus]

class TraceEventStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRACE_EVENT_STATUS_UNSPECIFIED: _ClassVar[TraceEventStatus]
    TRACE_EVENT_STATUS_OK: _ClassVar[TraceEventStatus]
    TRACE_EVENT_STATUS_FAILED: _ClassVar[TraceEventStatus]
TRACE_STATUS_UNSPECIFIED: TraceStatus
TRACE_STATUS_STARTED: TraceStatus
TRACE_STATUS_CONTINUE: TraceStatus
TRACE_STATUS_FINISHED: TraceStatus
TRACE_EVENT_STATUS_UNSPECIFIED: TraceEventStatus
TRACE_EVENT_STATUS_OK: TraceEventStatus
TRACE_EVENT_STATUS_FAILED: TraceEventStatus

class TraceEvent(_message.Message):
    __slots__ = ("trace_id", "trace_event_id", "domain", "domain_id", "start_time", "end_time", "trace_status", "trace_event_status", "user", "component", "operation", "status_body", "meta", "s3_path", "duration", "exception", "errors", "inputs", "outputs", "step_id", "attempt", "sequence", "record_time", "run")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    TRACE_STATUS_FIELD_NUMBER: _ClassVar[int]
    TRACE_EVENT_STATUS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    STATUS_BODY_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    S3_PATH_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    EXCEPTION_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    STEP_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIME_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    trace_event_id: str
    domain: str
    domain_id: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    trace_status: TraceStatus
    trace_event_status: TraceEventStatus
    user: str
    component: str
    operation: str
    status_body: _struct_pb2.Struct
    meta: _struct_pb2.Struct
    s3_path: str
    duration: _duration_pb2.Duration
    exception: ExceptionDetail
    errors: _containers.RepeatedCompositeFieldContainer[ErrorDetail]
    inputs: _containers.RepeatedCompositeFieldContainer[Dataset]
    outputs: _containers.RepeatedCompositeFieldContainer[Dataset]
    step_id: str
    attempt: int
    sequence: int
    record_time: _timestamp_pb2.Timestamp
    run: int
    def __init__(self, trace_id: _Optional[str] = ..., trace_event_id: _Optional[str] = ..., domain: _Optional[str] = ..., domain_id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trace_status: _Optional[_Union[TraceStatus, str]] = ..., trace_event_status: _Optional[_Union[TraceEventStatus, str]] = ..., user: _Optional[str] = ..., component: _Optional[str] = ..., operation: _Optional[str] = ..., status_body: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., meta: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., s3_path: _Optional[str] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., exception: _Optional[_Union[ExceptionDetail, _Mapping]] = ..., errors: _Optional[_Iterable[_Union[ErrorDetail, _Mapping]]] = ..., inputs: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., step_id: _Optional[str] = ..., attempt: _Optional[int] = ..., sequence: _Optional[int] = ..., record_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., run: _Optional[int] = ...) -> None: ...

class ExceptionDetail(_message.Message):
    __slots__ = ("type", "message", "traceback")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    traceback: str
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("message", "details")
    class MessageEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    message: _containers.ScalarMap[str, str]
    details: _struct_pb2.Struct
    def __init__(self, message: _Optional[_Mapping[str, str]] = ..., details: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Dataset(_message.Message):
    __slots__ = ("uri", "version")
    URI_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    uri: str
    version: str
    def __init__(self, uri: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Trace(_message.Message):
    __slots__ = ("trace_id", "domain", "domain_id", "user", "s3_path", "trace_status", "trace_event_status", "done", "run", "create_time", "update_time", "finish_time", "event_count", "failed_event_count", "last_sequence", "last_heard_time", "expire_time", "component", "operation", "errors", "error_count", "first_failure")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_ID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    S3_PATH_FIELD_NUMBER: _ClassVar[int]
    TRACE_STATUS_FIELD_NUMBER: _ClassVar[int]
    TRACE_EVENT_STATUS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_FAILURE_FIELD_NUMBER: _ClassVar[int]
    trace_id: str
    domain: str
    domain_id: str
    user: str
    s3_path: str
    trace_status: TraceStatus
    trace_event_status: TraceEventStatus
    done: bool
    run: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    finish_time: _timestamp_pb2.Timestamp
    event_count: int
    failed_event_count: int
    last_sequence: int
    last_heard_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    component: str
    operation: str
    errors: _containers.RepeatedCompositeFieldContainer[ReportedError]
    error_count: int
    first_failure: Failure
    def __init__(self, trace_id: _Optional[str] = ..., domain: _Optional[str] = ..., domain_id: _Optional[str] = ..., user: _Optional[str] = ..., s3_path: _Optional[str] = ..., trace_status: _Optional[_Union[TraceStatus, str]] = ..., trace_event_status: _Optional[_Union[TraceEventStatus, str]] = ..., done: bool = ..., run: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event_count: _Optional[int] = ..., failed_event_count: _Optional[int] = ..., last_sequence: _Optional[int] = ..., last_heard_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., component: _Optional[str] = ..., operation: _Optional[str] = ..., errors: _Optional[_Iterable[_Union[ReportedError, _Mapping]]] = ..., error_count: _Optional[int] = ..., first_failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class ReportedError(_message.Message):
    __slots__ = ("component", "operation", "sequence", "step_id", "error")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STEP_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    component: str
    operation: str
    sequence: int
    step_id: str
    error: ErrorDetail
    def __init__(self, component: _Optional[str] = ..., operation: _Optional[str] = ..., sequence: _Optional[int] = ..., step_id: _Optional[str] = ..., error: _Optional[_Union[ErrorDetail, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("component", "operation", "sequence", "step_id", "exception_type", "exception_message")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STEP_ID_FIELD_NUMBER: _ClassVar[int]
    EXCEPTION_TYPE_FIELD_NUMBER: _ClassVar[int]
    EXCEPTION_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    component: str
    operation: str
    sequence: int
    step_id: str
    exception_type: str
    exception_message: str
    def __init__(self, component: _Optional[str] = ..., operation: _Optional[str] = ..., sequence: _Optional[int] = ..., step_id: _Optional[str] = ..., exception_type: _Optional[str] = ..., exception_message: _Optional[str] = ...) -> None: ...
