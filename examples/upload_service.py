"""An upload service that creates a trace for each upload and returns its id (Flask).

The pipeline that the upload sets off tells the end, so the trace is created but not finished here. Run it with
`flask --app examples/upload_service.py run`, then `curl -F file=@trips.csv localhost:5000/datasets/bike-trips/1`.
"""

import uuid
from pathlib import Path

from flask import Flask, request
from flask.typing import ResponseReturnValue

from status_grpc import trace

app = Flask(__name__)
app.config["FOLDER"] = Path("uploads")


@app.post("/datasets/<dataset>/<version>")
def upload(dataset: str, version: str) -> ResponseReturnValue:
    file = request.files["file"]
    path = f"raw/{dataset}/version={version}/{uuid.uuid4()}/{Path(file.filename or 'data').name}"
    # Whoever is told of the object only knows its path: the trace is found by that.
    with trace(
        "dataset",
        f"{dataset}/{version}",
        component="data-uploader",
        operation="upload",
        user=request.headers.get("X-User", ""),
        s3_path=path,
        finish=False,
    ) as t:
        target = app.config["FOLDER"] / path
        target.parent.mkdir(parents=True)
        file.save(target)
    return {"trace_id": t.trace_id, "s3_path": path}, 201
