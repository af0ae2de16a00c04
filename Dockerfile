# `timbre serve` in a container, without weights: the repository of the voice is mounted at /voice.
#   docker build -t timbre .
#   docker build -t timbre --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .
ARG BASE=python:3.11-slim
FROM ${BASE}
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 HF_HOME=/voice/.timbre/hub
RUN command -v python3 >/dev/null && python3 -m venv --help >/dev/null 2>&1 \
    || (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*)
RUN python3 -m venv /opt/timbre
ENV PATH=/opt/timbre/bin:$PATH
WORKDIR /opt/source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY timbre ./timbre
RUN pip install --constraint constraints.txt '.[aac]'
RUN useradd --create-home --uid 10001 timbre
USER timbre
WORKDIR /voice
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["timbre", "serve", "--host", "0.0.0.0", "--api-key-file", "/run/secrets/keys"]
CMD ["--voice", "champion"]
