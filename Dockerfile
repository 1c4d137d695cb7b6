FROM python:3.13-slim AS build
COPY requirements.txt .
# the client of a bus, where one is consumed: --build-arg BUS_CLIENT=confluent-kafka
ARG BUS_CLIENT=
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir --requirement requirements.txt $BUS_CLIENT

FROM python:3.13-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --no-create-home notifier
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py ./
COPY config config
COPY channels channels
COPY preferences preferences
COPY notifier notifier
COPY sandbox sandbox
# settings need these to be read at all; collecting static files uses none of them
RUN SECRET_KEY=unused DATABASE_URL=postgresql:///unused REDIS_URL=redis://unused/0 \
    python manage.py collectstatic --no-input
USER notifier
EXPOSE 8000
CMD ["uvicorn", "config.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--no-access-log"]
