"""Datasets: OpenLineage names them by namespace and name, a trace by one URI."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

from status_grpc.domain.events import Dataset

#: The namespace of a URI that has no scheme, such as the key of an object: the name is the whole text.
_DEFAULT_NAMESPACE = "default"
#: The scheme under which a namespace is kept that is no URI, such as "bigquery".
_SCHEME = "openlineage://"
#: The schemes whose names are paths from the root.
_ROOTED = ("hdfs", "dbfs")


def to_uri(namespace: str, name: str) -> str:
    """Return the URI of a dataset: `s3://bucket` and `raw/x.csv` are `s3://bucket/raw/x.csv`.

    A name in the namespace "default" is its own URI, one in a namespace that is itself no URI becomes
    `openlineage://{namespace}/{name}`.
    """
    if namespace == _DEFAULT_NAMESPACE:
        return name
    if namespace in ("file", "file://"):
        return f"file://{name}" if name.startswith("/") else f"file:///{name}"
    if "://" in namespace:
        return f"{namespace.rstrip('/')}/{name.removeprefix('/')}"
    return f"{_SCHEME}{quote(namespace, safe='')}/{name}"


def from_uri(uri: str) -> tuple[str, str]:
    """Return namespace and name, so that `to_uri` gives the same URI again."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _DEFAULT_NAMESPACE, uri
    authority, slash, name = rest.partition("/")
    if scheme == "file" and slash and not authority:
        return "file", f"/{name}"
    if not name or not authority:
        return _DEFAULT_NAMESPACE, uri
    if uri.startswith(_SCHEME) and to_uri(unquote(authority), name) == uri:
        return unquote(authority), name
    rooted = scheme in _ROOTED or name.startswith("/")
    return f"{scheme}://{authority}", f"/{name}" if rooted else name


def dataset_message(dataset: Dataset, producer: str) -> dict[str, Any]:
    """Return the dataset as an entry of `inputs` or `outputs`."""
    namespace, name = from_uri(dataset.uri)
    message: dict[str, Any] = {"namespace": namespace, "name": name}
    if dataset.version:
        message["facets"] = {
            "version": {
                "_producer": producer,
                "_schemaURL": "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json"
                "#/$defs/DatasetVersionDatasetFacet",
                "datasetVersion": dataset.version,
            }
        }
    return message
