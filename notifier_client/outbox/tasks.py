"""The sweep as a Celery task, for shops that have Celery: put it on Beat's schedule, every few seconds."""

from __future__ import annotations

from celery import shared_task

from notifier_client.outbox import sweep


@shared_task(name="notifier_client.sweep_outbox", ignore_result=True)
def sweep_outbox() -> None:
    """Send what is due, and delete what is old."""
    sweep.sweep()
    sweep.delete_old()
