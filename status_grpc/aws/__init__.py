"""Adapters of pipelines on AWS: uploads become executions, and the ends of executions the ends of traces."""

from __future__ import annotations

from status_grpc.aws.arrivals import ArrivedObject
from status_grpc.aws.claims import Claim, Claims
from status_grpc.aws.dataset_keys import dataset_traces
from status_grpc.aws.dead_letters import DeadLetter, DeadLetters
from status_grpc.aws.ends import EndStates
from status_grpc.aws.errors import Unroutable
from status_grpc.aws.executions import Execution
from status_grpc.aws.reconciling import Reconciled, reconcile
from status_grpc.aws.router import Routed, Router
from status_grpc.aws.uploads import Upload, Uploads

__all__ = [
    "ArrivedObject",
    "Claim",
    "Claims",
    "DeadLetter",
    "DeadLetters",
    "EndStates",
    "Execution",
    "Reconciled",
    "Routed",
    "Router",
    "Unroutable",
    "Upload",
    "Uploads",
    "dataset_traces",
    "reconcile",
]
