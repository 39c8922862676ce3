# The server `orion` and the auditor's `orion-replay`. PostgreSQL and NATS are containers of their own: docker-compose.yml.

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p orion-api -p orion-replay

FROM debian:bookworm-slim
# The roots of TLS for NATS and sign-ins, and curl to ask the server whether it is ready.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --home-dir /var/lib/orion --create-home orion
COPY --from=build /src/target/release/orion /src/target/release/orion-replay /usr/local/bin/
USER orion
WORKDIR /var/lib/orion
ENV ORION_DATA_DIR=/var/lib/orion ORION_LISTEN=0.0.0.0:8000
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=5s CMD curl -fsS -o /dev/null http://127.0.0.1:8000/health/ready
CMD ["orion"]
