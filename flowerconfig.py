"""Flower's own settings: it reads this file where it is started (`celery -A config flower`).

FLOWER_BASIC_AUTH, FLOWER_READ_ONLY and Flower's other variables win where they are set.
"""

import os
import secrets
import sys

if not os.environ.get("FLOWER_BASIC_AUTH"):
    # never open to whoever reaches the port
    basic_auth = [f"flower:{secrets.token_urlsafe(12)}"]
    sys.stderr.write(f"FLOWER_BASIC_AUTH is not set; until Flower ends, its login is {basic_auth[0]}\n")
if not os.environ.get("FLOWER_READ_ONLY"):
    read_only = True  # who looks need not be able to stop workers
if not os.environ.get("FLOWER_TASKS_COLUMNS"):
    tasks_columns = "name,args,state,received,runtime,worker,uuid"
if not os.environ.get("FLOWER_ENABLE_EVENTS"):
    # else Flower turns on what the workers were told to leave off
    enable_events = os.environ.get("NOTIFIER_TASK_EVENTS", "").strip().lower() not in {"0", "false", "no", "off"}
