"""Keep personal data and secrets out of what Django, uvicorn and Celery log by themselves."""

from __future__ import annotations

import logging
import re

# what follows these in an address is a secret or names a device: a link's token, a push token
_SECRET_PATHS = re.compile(r"(/(?:preferences|unsubscribe|devices)/)(?!quiet-hours)[^?\s\"]+")
_HIDDEN = r"\1…"


class HideTokens(logging.Filter):
    """An address in a record shows no token. Changes the record; lets all pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_without_token, record.args))
        record.msg = _without_token(record.msg)
        return True


def _without_token(value: object) -> object:
    return _SECRET_PATHS.sub(_HIDDEN, value) if isinstance(value, str) else value


class HideBodies(logging.Filter):
    """Celery dumps a message that it cannot take, arguments and all; its first line says enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and "body" in record.msg:
            line = record.msg.partition("\n")[0].partition(" [type")[0]
            arguments = record.args if isinstance(record.args, tuple) else ()
            record.msg, record.args = line, arguments[: len(re.findall(r"%[sr]", line))]
        return True
