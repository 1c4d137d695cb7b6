"""Every status UPDATE of the system, and the claims. Set-based SQL: one statement for a batch, whatever its size.

Only the database's clock counts. Every multi-row UPDATE that waits for locks takes them first in id order; a claim
does not wait (SKIP LOCKED), so its order is free.
"""
