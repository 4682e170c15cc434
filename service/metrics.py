"""Every Prometheus series of the gateway, in one place."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.tallies import Spreads, Tallies

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FAST = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024)

registry = CollectorRegistry(auto_describe=True)

# Those of the way of every request are written by the event loop's thread alone, and so need no lock.
requests = Tallies("hourglass_requests", "Requests answered.", ["method", "route", "status"], registry)
request_seconds = Spreads(
    "hourglass_request_seconds",
    "Seconds from a request's first byte to the last of its answer.",
    ["method", "route"],
    _FAST,
    registry,
)
in_flight = Gauge("hourglass_requests_in_flight", "Requests being answered now.", registry=registry)
refused = Counter(
    "hourglass_requests_refused_total", "Requests refused for load or size.", ["reason"], registry=registry
)
streams = Gauge("hourglass_event_streams", "Event streams open now.", registry=registry)
streams_dropped = Counter(
    "hourglass_event_streams_dropped_total",
    "Event streams ended because the client was too slow.",
    registry=registry,
)
uploads = Counter(
    "hourglass_uploads_total", "Datasets asked for, by outcome.", ["outcome"], registry=registry
)
upload_bytes = Counter("hourglass_upload_bytes_total", "Bytes of uploads received.", registry=registry)
diagnoses = Counter(
    "hourglass_diagnoses_total", "Diagnoses asked for, by outcome.", ["outcome"], registry=registry
)
diagnosis_seconds = Histogram(
    "hourglass_diagnosis_seconds",
    "Seconds that a diagnosis took, its process and all.",
    buckets=(1, 2, 4, 8, 15, 30, 60),
    registry=registry,
)
inference_rows = Tallies("hourglass_inference_rows", "Rows that went through a model.", ["action"], registry)
inference_queue_seconds = Spreads(
    "hourglass_inference_queue_seconds",
    "Seconds that rows waited for the device.",
    ["action"],
    _FAST,
    registry,
)
inference_compute_seconds = Spreads(
    "hourglass_inference_compute_seconds",
    "Seconds of the forward passes that a request's rows were in.",
    ["action"],
    _FAST,
    registry,
)
batch_rows = Spreads(
    "hourglass_inference_batch_rows", "Rows of a forward pass.", [], _ROWS, registry
).labels()
forward_seconds = Spreads(
    "hourglass_inference_forward_seconds", "Seconds of a forward pass.", [], _FAST, registry
).labels()
rows_dropped = Tallies(
    "hourglass_inference_rows_dropped",
    "Rows that were not computed because their client had left.",
    [],
    registry,
).labels()
models_loaded = Gauge("hourglass_models_loaded", "Models held in memory.", registry=registry)
models_loaded_bytes = Gauge(
    "hourglass_models_loaded_bytes", "Bytes of models held in memory.", registry=registry
)
model_loads = Counter(
    "hourglass_model_loads_total", "Models read from the store, by outcome.", ["outcome"], registry=registry
)


def render() -> bytes:
    """The exposition text of all series."""
    return generate_latest(registry)
