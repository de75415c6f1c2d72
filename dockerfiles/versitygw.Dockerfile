# The S3 server of the chart's embedded store: upstream's static binary alone, for a user that is not root.
#
#   docker build -f dockerfiles/versitygw.Dockerfile -t windlass/versitygw .
#
# Where no registry can be reached, UPSTREAM names a local image with the same binary at the same path, built from the
# Go module of the same version.
ARG UPSTREAM=docker.io/versity/versitygw:v1.8.0

FROM ${UPSTREAM} AS upstream

FROM scratch
COPY --from=upstream /usr/local/bin/versitygw /usr/local/bin/versitygw
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/versitygw"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="versitygw" \
      org.opencontainers.image.description="S3 server over a folder, the embedded store of Windlass" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
