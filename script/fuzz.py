"""Fuzz the HTTP API of a web process of our own. Run by script/fuzz, with the checkout on the import path."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from config import embedded_servers
from tests.fuzz import OPTIONS, PEOPLE
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
QUICK_EXAMPLES = 5  # an operation
MAKE_KEY = ("create_api_key", "fuzz", *(f"--scope={scope}" for scope in ("trigger", "preferences", "read", "admin")))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--quick", action="store_true", help="the same few calls each time, within half a minute")
    parser.add_argument("--seed", type=int, help="the same calls as that run's, as it prints it")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    folder = ROOT / ".data" / f"fuzz-{secrets.token_hex(4)}"
    servers = embedded_servers.ensure(folder, durable=False)
    env = {**os.environ, "DEBUG": "1", "DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    env["NOTIFIER_ADDRESS_RATE"] = "0"  # all that is tried without a key comes from one address
    try:
        return _fuzz(given, env)
    finally:
        embedded_servers.stop(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _fuzz(given: argparse.Namespace, env: dict[str, str]) -> int:
    manage("migrate", "--verbosity=0", env=env)
    key = manage(*MAKE_KEY, env=env).strip()
    manage("shell", "--no-imports", "--command", PEOPLE, env=env)
    port = free_port()
    log = ROOT / ".data" / "fuzz-web.log"
    with log.open("wb") as output:
        web = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port), "--no-access-log"],
            env=env, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            return subprocess.run(_schemathesis(given, port, key), cwd=ROOT, check=False).returncode
        finally:
            web.terminate()
            web.wait(15)
            print(f"what the web process said: {log.relative_to(ROOT)}")


def _schemathesis(given: argparse.Namespace, port: int, key: str) -> list[str]:
    extent = [f"--max-time={round(given.minutes * 60)}"]
    if given.quick:
        extent = ["--generation-deterministic", f"--max-examples={QUICK_EXAMPLES}", "--no-color"]
    seed = [f"--seed={given.seed}"] if given.seed is not None else []
    return [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(OPTIONS),
        "run", f"http://127.0.0.1:{port}/api/schema", "--wait-for-schema=30", f"--header=Authorization: Api-Key {key}",
        *extent, *seed,
    ]  # fmt: skip


def manage(*arguments: str, env: dict[str, str]) -> str:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, env=env, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
