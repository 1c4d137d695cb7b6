FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements.txt .
# the client of a bus, where one is consumed: --build-arg BUS_CLIENT=confluent-kafka
ARG BUS_CLIENT=
# what is installed changes seldom, so this layer is kept while the code below changes
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --requirement requirements.txt ${BUS_CLIENT:+"$BUS_CLIENT"}

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Notifier" \
      org.opencontainers.image.description="Tells a shop's customers what happens to their orders" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# by number, so that Kubernetes sees that it is not root
RUN groupadd --system --gid 10001 notifier \
    && useradd --system --uid 10001 --gid 10001 --no-create-home notifier
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py flowerconfig.py ./
COPY config config
COPY channels channels
COPY preferences preferences
COPY notifier notifier
COPY sandbox sandbox
# settings need these to be read at all; collecting static files uses none of them
RUN SECRET_KEY=unused DATABASE_URL=postgresql:///unused REDIS_URL=redis://unused/0 \
    python manage.py collectstatic --no-input
USER 10001:10001
EXPOSE 8000
# of the web process; other processes have theirs in docker-compose.yml and deploy/kubernetes
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/live', timeout=3)"]
CMD ["uvicorn", "config.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--no-access-log"]
