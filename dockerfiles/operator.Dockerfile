# windlass-operator: no torch, no web framework, no store client.
#
#   docker build -f dockerfiles/operator.Dockerfile -t windlass/operator .
ARG BASE=python:3.11-slim

# The installer. All stages but the last are left behind; what is mounted or copied from them is all that counts.
FROM ${BASE} AS tools
ARG UV_VERSION=0.13.8
ARG HATCHLING_VERSION=1.33.0
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m pip install --quiet --root-user-action ignore --no-cache-dir --no-compile --target /tools \
      uv==${UV_VERSION} hatchling==${HATCHLING_VERSION}
ENV PATH=/opt/windlass/bin:/tools/bin:$PATH UV_CACHE_DIR=/var/cache/uv

# The exact versions to install, and nothing else, so that neither an edit of a pyproject.toml nor a new pin of another
# package makes the layer below anew.
FROM tools AS requirements
WORKDIR /requirements
COPY constraints.txt dockerfiles/requirements.py ./
COPY services/core/pyproject.toml core.toml
COPY operator/pyproject.toml operator.toml
RUN --mount=type=cache,target=/var/cache/uv --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    python3 requirements.py 'windlass-operator' > third-party.in \
 && uv pip compile --quiet --no-header --no-annotate --constraint constraints.txt third-party.in > /all.txt

# Our packages, built and compiled to byte code: the root file system is read-only when a container runs.
FROM tools AS code
COPY services/core /src/core
COPY operator /src/operator
RUN uv venv --quiet /opt/windlass \
 && PYTHONPATH=/tools uv pip install --quiet --python /opt/windlass --no-cache --no-deps --no-build-isolation \
      --compile-bytecode /src/core /src/operator

# By itself, so that a change of another file in that folder makes no layer anew.
FROM scratch AS scripts
COPY dockerfiles/runtime.py dockerfiles/strip.py /

# Of the base what runs Python, without installers, package managers and Perl: 130 MB become 50.
FROM ${BASE} AS system
RUN --mount=type=bind,from=scripts,source=/,target=/scripts python3 /scripts/runtime.py /runtime

FROM scratch AS runtime
COPY --from=system /runtime /
ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8

FROM runtime
ARG UV_CACHE_DIR=/var/cache/uv
COPY --from=requirements /all.txt /opt/windlass/
# Removed: from all libraries what only debuggers read.
RUN --mount=type=bind,from=tools,source=/tools,target=/tools --mount=type=bind,from=scripts,source=/,target=/scripts \
    --mount=type=cache,target=/var/cache/uv --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    echo 'nonroot:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && /tools/bin/uv venv --quiet --allow-existing /opt/windlass \
 && /tools/bin/uv pip install --quiet --python /opt/windlass --link-mode copy --compile-bytecode --no-deps -r /opt/windlass/all.txt \
 && python3 /scripts/strip.py /opt/windlass/lib
# The fault handler: a crash in native code leaves the stack of every thread in the pod's log.
ENV PATH=/opt/windlass/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1
USER 65532:65532
ENTRYPOINT ["windlass-operator"]
ARG REVISION=unknown
COPY --from=code /opt/windlass /opt/windlass
LABEL org.opencontainers.image.title="windlass-operator" \
      org.opencontainers.image.description="Turns Dataset, TrainingJob, Model and InferenceService objects into Kubernetes objects" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
