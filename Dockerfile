# syntax=docker/dockerfile:1
# One image for every role: `serve` runs them all, `serve --only web|models|worker` one of them.

FROM python:3.13-slim-bookworm AS build
# The base image's release fixes the versions of Debian's packages well enough.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml constraints.txt ./
COPY deploy deploy
# GGML_NATIVE=OFF: the image runs on other processors than the builder's, on x86-64 all with AVX2 and FMA.
# pip's cache is a mount of the builder, so that a second build does not compile again.
RUN --mount=type=cache,id=orchestrator-pip,target=/root/.cache/pip \
    CMAKE_ARGS="-DGGML_NATIVE=OFF" bash deploy/install.sh

FROM python:3.13-slim-bookworm
# libgomp1: llama.cpp computes with OpenMP threads.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 redis-server \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin orchestrator \
 && install -d -m 0700 -o orchestrator -g orchestrator /data
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY manage.py ./
COPY static static
COPY templates templates
COPY routing routing
COPY cache cache
COPY dashboard dashboard
COPY orchestrator orchestrator
RUN .venv/bin/python -m compileall -q orchestrator cache routing dashboard
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OLLAMA_HOST=0.0.0.0 \
    ORCHESTRATOR_REQUIRE_KEYS=1 \
    ORCHESTRATOR_DATA_DIR=/data
USER 10001
VOLUME /data
EXPOSE 11434
# A container that runs another role than `web` has its own check in compose.yaml.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:11434/healthz', timeout=4)"]
ENTRYPOINT ["python", "manage.py"]
CMD ["serve"]
