"""Redis for the order flow, which never waits: an answer within 0.3 s or none."""

from __future__ import annotations

from channels.resting_redis import RestingRedis

quick_redis = RestingRedis(patience=0.15, without="no event rings and no caller is counted")
