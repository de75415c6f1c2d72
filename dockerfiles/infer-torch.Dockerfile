# windlass-infer with torch: for versions that only torch runs, and for GPUs. Its layer of torch is that of train.Dockerfile, to
# the letter, so that a node that trains has it already.
#
#   docker build -f dockerfiles/infer-torch.Dockerfile -t windlass/infer-torch .
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
COPY services/infer/pyproject.toml infer.toml
RUN --mount=type=cache,target=/var/cache/uv --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    pins() { uv pip compile --quiet --no-header --no-annotate --constraint constraints.txt ${TORCH_PIP_OPTIONS} "$@"; } \
 && echo torch > torch.in && pins torch.in > /torch.txt \
 && python3 requirements.py 'windlass-infer[telemetry,torch]' > third-party.in \
 && pins --constraint /torch.txt third-party.in > /declared.txt \
 && grep -v '^openvino-telemetry' /declared.txt > /rest.txt

# Our packages, built and compiled to byte code: the root file system is read-only when a container runs.
FROM tools AS code
COPY services/core /src/core
COPY services/preprocess /src/preprocess
COPY services/infer /src/infer
RUN uv venv --quiet /opt/windlass \
 && PYTHONPATH=/tools uv pip install --quiet --python /opt/windlass --no-cache --no-deps --no-build-isolation \
      --compile-bytecode /src/core /src/preprocess /src/infer

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
# Removed: most of what infer.Dockerfile removes.
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=cache,target=/var/cache/uv --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    /tools/bin/uv pip install --quiet --python /opt/windlass --link-mode copy --compile-bytecode --no-deps -r /opt/windlass/rest.txt \
 && cd /opt/windlass/lib/python3*/site-packages \
 && rm -rf numpy/tests numpy/*/tests openvino/include openvino/cmake openvino/libs/cache.json openvino/libs/libopenvino_c.so* \
      openvino/libs/libopenvino_intel_[gn]pu_plugin.so openvino/libs/libopenvino_auto*_plugin.so openvino/libs/libopenvino_hetero_plugin.so \
 && rm -rf onnxruntime/transformers onnxruntime/tools onnxruntime/quantization onnxruntime/datasets onnxruntime/backend \
      onnxruntime/capi/libonnxruntime.so.* \
 && rm -rf pyarrow/tests pyarrow/include pyarrow/src pyarrow/includes pyarrow/*.p[yx][xi] pyarrow/*flight* pyarrow/*s3* pyarrow/lib*.so.*.*.* \
 && find pyarrow -name 'lib*.so' ! -name 'lib.*' -delete \
 && find openvino/libs -name 'libopenvino_*_frontend.so*' ! -name '*_onnx_*' ! -name '*_ir_*' -delete
# The fault handler: a crash in native code leaves the stack of every thread in the pod's log.
ENV PATH=/opt/windlass/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
ENTRYPOINT ["windlass-infer"]
ARG REVISION=unknown
COPY --from=code /opt/windlass /opt/windlass
LABEL org.opencontainers.image.title="windlass-infer" \
      org.opencontainers.image.description="Serves a Model version over HTTP, with torch" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
