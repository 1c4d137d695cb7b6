"""What planning a full batch takes: for 500 people who have chosen, with the cache of people and without."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.options import Options, Show
from benchmarks.stage import ENGINE, Stage
from tests.processes import ROOT

RUNS = 15  # of each, of which the median counts

#: six choices each: three types by two channels, a fifth of them off
CHOICES = """
INSERT INTO preferences_preference (id, user_id, event_type, channel, enabled, updated_at)
SELECT gen_random_uuid(), id, event_type, channel, random() > 0.2, now()
FROM preferences_user, unnest(ARRAY['ORDER_SHIPPED', 'ORDER_DELIVERED', '']) AS event_type,
     unnest(ARRAY['SMS', 'EMAIL']) AS channel
WHERE NOT is_staff
ON CONFLICT DO NOTHING
"""


def planning(stage: Stage, _options: Options, show: Show) -> dict[str, Any]:
    """Keys of the report."""
    stage.stop(ENGINE)
    stage.query(CHOICES)
    stage.query("ANALYZE")
    show(f"planning for 500 people, {RUNS} times each way")
    command = [sys.executable, "-m", "benchmarks.planning_process", str(RUNS)]
    environment = {**stage.world.environment, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"planning failed: {done.stderr[-2000:]}")
    stage.start(ENGINE)
    stage.until_drained(120)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured
