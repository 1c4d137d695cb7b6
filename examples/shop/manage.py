#!/usr/bin/env python
"""The shop's command line."""

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the checkout: `examples` and `notifier_client`
    os.environ["DJANGO_SETTINGS_MODULE"] = "examples.shop.settings"
    execute_from_command_line(sys.argv)
