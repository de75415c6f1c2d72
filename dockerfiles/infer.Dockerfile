# windlass-infer: ONNX Runtime and OpenVINO, and no torch. What only torch runs has infer-torch.Dockerfile.
#
#   docker build -f dockerfiles/infer.Dockerfile -t windlass/infer .
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
COPY services/preprocess/pyproject.toml preprocess.toml
COPY services/infer/pyproject.toml infer.toml
RUN --mount=type=cache,target=/var/cache/uv --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    python3 requirements.py 'windlass-infer[telemetry]' > third-party.in \
 && uv pip compile --quiet --no-header --no-annotate --constraint constraints.txt third-party.in > /declared.txt \
 && grep -v '^openvino-telemetry' /declared.txt > /all.txt

# Our packages, built and compiled to byte code: the root file system is read-only when a container runs.
FROM tools AS code
COPY services/core /src/core
COPY services/preprocess /src/preprocess
COPY services/infer /src/infer
RUN uv venv --quiet /opt/windlass \
 && PYTHONPATH=/tools uv pip install --quiet --python /opt/windlass --no-cache --no-deps --no-build-isolation \
      --compile-bytecode /src/core /src/preprocess /src/infer

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
# Removed: OpenVINO's devices other than the CPU, its readers of formats other than ONNX and its own, its tools, and what only a
# compiler needs: 82 MB; ONNX Runtime's tools, and a second copy of it for programs in C: 41 MB; of Arrow what speaks to other
# stores or reads what batch runs do not, and second copies: 71 MB; of Pillow formats other than those that bodies/image.py
# takes, and fonts: 14 MB; of NumPy what builds extensions; from all libraries what only debuggers read: 39 MB; types and
# sources of compiled modules. OpenVINO reports nothing home without openvino-telemetry, which is not installed; `telemetry` is
# our own extra, which exports spans to where the user says. tests/e2e/test_images.py tries what is left.
RUN --mount=type=bind,from=tools,source=/tools,target=/tools --mount=type=bind,from=scripts,source=/,target=/scripts \
    --mount=type=cache,target=/var/cache/uv --mount=type=secret,id=uv.toml,target=/etc/uv/uv.toml \
    echo 'nonroot:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && /tools/bin/uv venv --quiet --allow-existing /opt/windlass \
 && /tools/bin/uv pip install --quiet --python /opt/windlass --link-mode copy --compile-bytecode --no-deps -r /opt/windlass/all.txt \
 && cd /opt/windlass/lib/python3*/site-packages \
 && rm -rf numpy/tests numpy/*/tests numpy/f2py numpy/distutils numpy/_core/include numpy/_core/_simd.* fsspec/tests \
 && rm -rf openvino/include openvino/cmake openvino/libs/cache.json openvino/libs/libopenvino_c.so* \
      openvino/tools openvino/frontend/pytorch openvino/frontend/tensorflow openvino/frontend/paddle openvino/frontend/jax \
      openvino/libs/libopenvino_intel_[gn]pu_plugin.so openvino/libs/libopenvino_auto*_plugin.so openvino/libs/libopenvino_hetero_plugin.so \
 && rm -rf onnxruntime/transformers onnxruntime/tools onnxruntime/quantization onnxruntime/datasets onnxruntime/backend \
      onnxruntime/capi/libonnxruntime.so.* \
 && rm -rf pyarrow/tests pyarrow/include pyarrow/src pyarrow/includes pyarrow/*flight* pyarrow/*s3* pyarrow/*gcs* pyarrow/*azure* \
      pyarrow/*hdfs* pyarrow/*orc* pyarrow/_substrait* pyarrow/_acero* pyarrow/_dataset* pyarrow/*encryption* pyarrow/*_tests.* \
      pyarrow/lib*.so.*.*.* \
 && find pyarrow -name 'lib*.so' ! -name 'lib.*' -delete \
 && rm -rf PIL/_avif.* PIL/_webp.* PIL/_imagingft.* PIL/_imagingcms.* PIL/_imagingtk.* pillow.libs/libavif* pillow.libs/libwebp* \
      pillow.libs/libsharpyuv* pillow.libs/libfreetype* pillow.libs/libharfbuzz* pillow.libs/libpng* pillow.libs/libbrotli* pillow.libs/liblcms* \
 && find openvino/libs -name 'libopenvino_*_frontend.so*' ! -name '*_onnx_*' ! -name '*_ir_*' -delete \
 && find . \( -name '*.py[ix]' -o -name '*.px[di]' -o -name '*.proto' \) -delete \
 && python3 /scripts/strip.py .
# The fault handler: a crash in native code leaves the stack of every thread in the pod's log.
ENV PATH=/opt/windlass/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1
USER 65532:65532
ENTRYPOINT ["windlass-infer"]
ARG REVISION=unknown
COPY --from=code /opt/windlass /opt/windlass
LABEL org.opencontainers.image.title="windlass-infer" \
      org.opencontainers.image.description="Serves a Model version over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
