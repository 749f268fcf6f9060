"""ML Metadata: puts executions into an SQLite file (the first argument), in this process: it has no server to ask."""

import sys
import time

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

config = pb.ConnectionConfig()
config.sqlite.filename_uri = sys.argv[1]
config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
store = metadata_store.MetadataStore(config)
kind = pb.ExecutionType(name="step")
for name in ("component", "operation", "user"):
    kind.properties[name] = pb.STRING
type_id = store.put_execution_type(kind)
print("ready", flush=True)
for line in sys.stdin:
    calls, _at_a_time = map(int, line.split())
    began = time.perf_counter()
    for _ in range(calls):
        execution = pb.Execution(type_id=type_id, last_known_state=pb.Execution.RUNNING)
        for name, value in (("component", "s3-writer"), ("operation", "copy"), ("user", "benchmark")):
            execution.properties[name].string_value = value
        store.put_executions([execution])
    print(time.perf_counter() - began, flush=True)
