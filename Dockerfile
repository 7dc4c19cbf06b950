# The relay as a container: one wheel on Python's slim image, no compiler, no shell scripts.
#
#   docker run --read-only --tmpfs /tmp -v ./etc:/etc/gatepost:ro -v state:/var/lib/gatepost \
#     -p 25:2525 gatepost
#
# /etc/gatepost holds gatepost.toml, the allowlist and the certificates; the listener's port has to
# be above 1023. `state_dir = "/var/lib/gatepost"` is where the audit trail is kept.

FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY relay relay
RUN pip wheel --no-cache-dir --wheel-dir /wheels -c constraints.txt .

FROM python:3.11-slim-bookworm
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels gatepost \
 && rm -rf /wheels \
 && useradd --system --uid 2525 --home-dir /var/lib/gatepost --create-home gatepost
ENV PYTHONDONTWRITEBYTECODE=1 \
    GATEPOST_CONFIG=/etc/gatepost/gatepost.toml \
    GATEPOST_STATE_DIR=/var/lib/gatepost
USER gatepost
VOLUME /var/lib/gatepost
EXPOSE 2525
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["gatepost", "status"]
ENTRYPOINT ["gatepost", "run"]
