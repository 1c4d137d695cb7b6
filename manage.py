#!/usr/bin/env python
"""Django's command line."""

import os
import sys

from django.core.management import execute_from_command_line

from preferences.acting import Actor, acting


def command() -> Actor:
    """The command and the login that gave it, for the history. Never its arguments: they may hold addresses."""
    login = os.environ.get("SUDO_USER") or os.environ.get("USER", "")
    return Actor("COMMAND", sys.argv[1] if len(sys.argv) > 1 else "", {"login": login} if login else {})


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    with acting(command):
        execute_from_command_line(sys.argv)
