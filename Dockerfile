# `timbre serve` in a container.
#   docker build -t timbre .                                                             # CPU, without a voice
#   docker build -t timbre --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .     # GPU
#   docker build -t harbour --target baked .                                             # with the voice of this repository
# Without a voice, the repository is mounted at /voice.
ARG BASE=python:3.11-slim
FROM ${BASE} AS program
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 HF_HOME=/voice/.timbre/hub
RUN command -v python3 >/dev/null && python3 -m venv --help >/dev/null 2>&1 \
    || (apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*)
RUN python3 -m venv /opt/timbre
ENV PATH=/opt/timbre/bin:$PATH
WORKDIR /opt/source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY timbre ./timbre
RUN pip install --constraint constraints.txt '.[aac]'
RUN useradd --create-home --uid 10001 timbre && install --directory --owner timbre /voice
USER timbre
WORKDIR /voice
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["timbre", "serve", "--host", "0.0.0.0", "--api-key-file", "/run/secrets/keys"]
CMD ["--voice", "champion"]

# What the voice of the work tree needs to speak, after `dvc pull` or `dvc repro`; a base from the hub comes at the start.
FROM program AS baked
COPY --chown=timbre params.yaml dvc.yaml dvc.lock ./
COPY --chown=timbre data/speakers.yaml data/sources.yaml data/pronunciations.tsv ./data/
COPY --chown=timbre data/dataset ./data/dataset
COPY --chown=timbre data/codes ./data/codes
COPY --chown=timbre models ./models
COPY --chown=timbre reports/samples ./reports/samples
CMD ["--voice", "models/adapter"]

FROM program
