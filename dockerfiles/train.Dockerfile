# windlass-train: torch is one layer, what else it needs a second, our own code the last and small one.
#
#   docker build -f dockerfiles/train.Dockerfile -t windlass/train .
#
# torch from PyPI brings the CUDA libraries with it. Who can reach PyTorch's own index gets an image without them,
# a sixth of the size, by --build-arg TORCH_PIP_OPTIONS="--torch-backend cpu".
ARG BASE=python:3.11-slim

# The installer. This stage and the next two are left behind; what is mounted or copied from them is all that counts.
FROM ${BASE} AS tools
ARG UV_VERSION=0.13.8
ARG HATCHLING_VERSION=1.33.0
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m pip install --quiet --root-user-action ignore --no-cache-dir --no-compile --target /tools \
      uv==${UV_VERSION} hatchling==${HATCHLING_VERSION}
ENV PATH=/opt/windlass/bin:/tools/bin:$PATH UV_CACHE_DIR=/var/cache/uv

# The exact versions to install, and nothing else, so that neither an edit of a pyproject.toml nor a new pin of another
# package makes the layers below anew; torch with what it needs apart from the rest.
FROM tools AS requirements
ARG TORCH_PIP_OPTIONS=""
WORKDIR /requirements
COPY constraints.txt dockerfiles/requirements.py ./
COPY services/core/pyproject.toml core.toml
COPY services/preprocess/pyproject.toml preprocess.toml
COPY services/train/pyproject.toml train.toml
RUN --mount=type=cache,target=/var/cache/uv --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    pins() { uv pip compile --quiet --no-header --no-annotate --constraint constraints.txt ${TORCH_PIP_OPTIONS} "$@"; } \
 && echo torch > torch.in && pins torch.in > /torch.txt \
 && python3 requirements.py windlass-train > third-party.in && pins --constraint /torch.txt third-party.in > /rest.txt

# Our packages, built and compiled to byte code: the root file system is read-only when a container runs.
FROM tools AS code
COPY services/core /src/core
COPY services/preprocess /src/preprocess
COPY services/train /src/train
RUN uv venv --quiet /opt/windlass \
 && PYTHONPATH=/tools uv pip install --quiet --python /opt/windlass --no-cache --no-deps --no-build-isolation \
      --compile-bytecode /src/core /src/preprocess /src/train

FROM ${BASE}
ARG TORCH_PIP_OPTIONS=""
ARG UV_CACHE_DIR=/var/cache/uv
COPY --from=requirements /torch.txt /opt/windlass/
# Removed: what only a compiler or linker needs, and two libraries that neither torch nor triton loads (cuSOLVER for
# several GPUs in one process, an alternative build of the run-time compiler): 0.4 GB.
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=cache,target=/var/cache/uv --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    echo 'nonroot:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && /tools/bin/uv venv --quiet --allow-existing /opt/windlass \
 && /tools/bin/uv pip install --quiet --python /opt/windlass --link-mode copy --compile-bytecode --no-deps ${TORCH_PIP_OPTIONS} -r /opt/windlass/torch.txt \
 && cd /opt/windlass/lib/python3*/site-packages \
 && rm -rf torch/include torch/bin/protoc* nvidia/*/lib/libcusolverMg.so* nvidia/*/lib/libnvrtc*.alt.so* \
 && find . -name '*.a' -delete
COPY --from=requirements /rest.txt /opt/windlass/
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=cache,target=/var/cache/uv --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    /tools/bin/uv pip install --quiet --python /opt/windlass --link-mode copy --compile-bytecode --no-deps -r /opt/windlass/rest.txt \
 && cd /opt/windlass/lib/python3*/site-packages \
 && rm -rf numpy/tests numpy/*/tests pyarrow/tests pyarrow/include
# The fault handler: a crash in native code leaves the stack of every thread in the pod's log.
ENV PATH=/opt/windlass/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
ENTRYPOINT ["windlass-train"]
ARG REVISION=unknown
COPY --from=code /opt/windlass /opt/windlass
LABEL org.opencontainers.image.title="windlass-train" \
      org.opencontainers.image.description="Trains a Dataset version to a Model version, elastic and resumable" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
