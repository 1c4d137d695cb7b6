"""Every status UPDATE of the system, and the claims. Set-based SQL: one statement for a batch, whatever its size.

Where no index is named, rows are found by their primary key. tests/integration/test_query_plans.py holds all of them to
an index, with a history in the tables.

Only the database's clock counts. Every multi-row UPDATE that waits for locks takes them first in id order; a claim
does not wait (SKIP LOCKED), so its order is free.

The server keeps the plans of these statements, made when nobody knew how large a batch or a table would be. So rows are
looked up by `id = ANY(…)`, which leaves the planner nothing but the primary key, also where a join would say the same.
"""
