# One file, three targets: `service` (the gateway), `worker` and `proxy`. The classic builder and BuildKit build it
# alike.
#
#   docker build --target service -t hourglass-service .
#   docker build --target worker --build-arg TORCH_INDEX_URL=<an index of CUDA wheels> -t hourglass-worker .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Before several gateways; any image of HAProxy with the same configuration will do as well.
FROM ${PYTHON_IMAGE} AS proxy
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
COPY deploy/haproxy.cfg /etc/haproxy/haproxy.cfg
USER haproxy
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
CMD ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]

FROM ${PYTHON_IMAGE} AS torch
# Where torch comes from: empty is pip's own configuration; name an index to pick a CPU-only or a CUDA build.
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/hourglass/bin:$PATH
RUN python3 -m venv /opt/hourglass \
 && pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "torch~=2.13.0" "numpy~=2.4" \
 && cd / && find opt/hourglass \( -type f -o -type l \) | sort >/torch.files

FROM torch AS application
WORKDIR /build
# Third-party packages first: they change less often than the code.
COPY pyproject.toml deploy/requirements.py ./
RUN python3 requirements.py pyproject.toml cli postgres s3 >requirements.txt && pip install -r requirements.txt
COPY . .
RUN pip install --no-deps . \
 && mkdir /layer && cd / && find opt/hourglass \( -type f -o -type l \) ! -name '*.pyc' | sort \
  | comm -13 /torch.files - | tar -c -T - | tar -x -C /layer

FROM ${PYTHON_IMAGE} AS runtime
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/hourglass hourglass \
 && mkdir /var/lib/hourglass/artifacts /var/cache/hourglass \
 && chown hourglass: /var/lib/hourglass/artifacts /var/cache/hourglass
# torch in a layer of its own, so that a new version of the application moves only the small one after it.
COPY --from=torch /opt/hourglass /opt/hourglass
COPY --from=application /layer /
ENV PATH=/opt/hourglass/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GOMP_SPINCOUNT=2000 \
    HOURGLASS_HOME=/var/lib/hourglass \
    HOURGLASS_LOG_FORMAT=json
USER hourglass
WORKDIR /var/lib/hourglass
ENTRYPOINT ["hourglass"]

FROM runtime AS worker
ENV HOURGLASS_METRICS_PORT=9100 HOURGLASS_METRICS_HOST=0.0.0.0
EXPOSE 9100
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9100/metrics', timeout=4)"]
CMD ["work"]

FROM runtime AS service
ENV HOURGLASS_HOST=0.0.0.0 \
    NUMBA_CACHE_DIR=/var/cache/hourglass
# Compiled here, for this processor; on another kind a gateway does it again when it starts.
RUN python -c "import service.serving.codecs.json_kernel"
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
CMD ["serve"]
