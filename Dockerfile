# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
WORKDIR /src
# What changes seldom comes first: these versions, with these hashes, are what the tests ran on
COPY requirements.lock ./
RUN python -m venv /opt/gnomon && /opt/gnomon/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY detectors detectors
COPY streams streams
RUN /opt/gnomon/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim
# A number, so that Kubernetes' runAsNonRoot can tell
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin gnomon && install -d -o 10001 -g 10001 /var/lib/gnomon
COPY --from=build /opt/gnomon /opt/gnomon
ENV PATH=/opt/gnomon/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GNOMON_DATA_DIR=/var/lib/gnomon
USER 10001
WORKDIR /var/lib/gnomon
STOPSIGNAL SIGTERM
ENTRYPOINT ["gnomon"]
CMD ["worker"]
