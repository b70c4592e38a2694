# The server with the client and the command line, in an image without a compiler.
#
#   docker build -t holdfast .
#   docker run -p 6430:6430 -p 6420:6420 -v holdfast-data:/data -v "$PWD":/app:ro --read-only \
#     -e HOLDFAST_TOKEN=... holdfast serve app:registry
#
# It serves the registry of /app/app.py: mount your code there, or build an image
# FROM this one that copies it in. Nothing outside /data is written to.

FROM python:3.11-slim AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/holdfast \
    UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
# What is locked changes less often than the code, and so is a layer of its own.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --extra server --extra cli --no-install-project
COPY python_sdk python_sdk
COPY server server
RUN uv sync --frozen --no-dev --extra server --extra cli --no-editable

FROM python:3.11-slim
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin holdfast \
    && install --directory --owner=holdfast --group=holdfast /data /app
COPY --from=build /opt/holdfast /opt/holdfast
ENV PATH=/opt/holdfast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOLDFAST_DATA=/data \
    HOLDFAST_GRPC=0.0.0.0:6430 \
    HOLDFAST_HTTP=0.0.0.0:6420 \
    HOLDFAST_METRICS=0.0.0.0:6431
USER 10001:10001
WORKDIR /app
VOLUME /data
EXPOSE 6430 6420 6431
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["holdfast", "--timeout", "2", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["holdfast-server"]
CMD ["serve", "app:registry"]
