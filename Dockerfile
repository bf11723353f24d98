# The sidecar's image: two stages, so that what builds it is not in it.
#   docker build -t jobgate .                                   the sidecar
#   docker build -t jobgate --build-arg EXTRAS="--extra aws" .  with the sidecar's own AWS role and secret stores
# It runs as a fixed, unprivileged user and writes nowhere but its three volumes: start it with --read-only.
ARG PYTHON=docker.io/library/python:3.13-slim
# The same Python on the same Debian, with a C compiler: what every flow runs through is compiled from its own source.
ARG BUILDER=docker.io/library/python:3.13

FROM ${BUILDER} AS builder
ARG UV="uv>=0.9,<1"
ARG EXTRAS=""
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON=/usr/local/bin/python3 \
    UV_PYTHON_DOWNLOADS=never
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --disable-pip-version-check "${UV}"
WORKDIR /source
# The dependencies first: they change less often than the code.
COPY pyproject.toml uv.lock ./
RUN UV_PROJECT_ENVIRONMENT=/opt/jobgate /opt/uv/bin/uv sync --quiet --frozen --no-dev --no-install-project ${EXTRAS} \
    && UV_PROJECT_ENVIRONMENT=/opt/build /opt/uv/bin/uv sync --quiet --frozen --no-dev --no-install-project --group build
# A dependency's own tests bring a private key along. It is worth nothing, and scanners are right to ask.
RUN rm -rf /opt/jobgate/lib/python3.*/site-packages/tornado/test
COPY LICENSE README.md ./
COPY .ci/build_hook.py .ci/
COPY rules rules
COPY proxy proxy
RUN HATCH_BUILD_HOOKS_ENABLE=1 /opt/build/bin/python -m hatchling build --target wheel --directory /wheel \
    && /opt/uv/bin/uv pip install --quiet --python /opt/jobgate/bin/python --no-deps /wheel/*.whl

FROM ${PYTHON}
LABEL org.opencontainers.image.title="jobgate" \
      org.opencontainers.image.description="Identity-aware forwarding proxy for build jobs." \
      org.opencontainers.image.licenses="Apache-2.0"
# No shell account, no home, and nothing in the image belongs to it but the three folders. Nothing can be installed later.
RUN python3 -m pip uninstall --quiet --yes --root-user-action=ignore pip \
    && printf 'jobgate:x:10001:10001::/nonexistent:/usr/sbin/nologin\n' >> /etc/passwd \
    && printf 'jobgate:x:10001:\n' >> /etc/group \
    && install -d -o 10001 -g 10001 -m 0755 /certs /run/jobgate \
    && install -d -o 10001 -g 10001 -m 0700 /audit \
    && install -d -m 0755 /etc/jobgate/rules
COPY --from=builder /opt/jobgate /opt/jobgate
ENV PATH=/opt/jobgate/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    JOBGATE_CERTS=/certs \
    JOBGATE_AUDIT=/audit \
    JOBGATE_CONTROL=/run/jobgate/control.sock \
    JOBGATE_RULES=/etc/jobgate/rules
# /certs: the CA certificate for jobs to trust (never its key). /audit: the trail. /run/jobgate: the control socket.
VOLUME ["/certs", "/audit", "/run/jobgate"]
WORKDIR /etc/jobgate
USER 10001:10001
# 8080 listens on loopback, for jobs that share the network namespace. Wider only if you say so: JOBGATE_LISTEN=0.0.0.0:8080.
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["jobgate", "health"]
ENTRYPOINT ["jobgate"]
CMD ["run"]
