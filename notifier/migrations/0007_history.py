"""A history of API keys and of what becomes of dead letters (preferences/migrations/0003_history.py); none of hot tables."""

from django.db import migrations

TRIGGERS = """
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON notifier_apikey
    FOR EACH ROW EXECUTE FUNCTION preferences_note_change('API_KEY', '', 'key_hash', 'last_used_at');
CREATE TRIGGER note_truncate BEFORE TRUNCATE ON notifier_apikey
    FOR EACH STATEMENT EXECUTE FUNCTION preferences_note_change('API_KEY', '');

-- that a letter is written costs nothing here, and the row says when; retention's deletes neither, but of open ones
CREATE TRIGGER note_change AFTER UPDATE OF status ON notifier_deadletter
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION preferences_note_change('DEAD_LETTER', '', 'payload', 'last_error');
CREATE TRIGGER note_delete AFTER DELETE ON notifier_deadletter
    FOR EACH ROW WHEN (OLD.status = 'OPEN')
    EXECUTE FUNCTION preferences_note_change('DEAD_LETTER', '', 'payload', 'last_error');
CREATE TRIGGER note_truncate BEFORE TRUNCATE ON notifier_deadletter
    FOR EACH STATEMENT EXECUTE FUNCTION preferences_note_change('DEAD_LETTER', '');
"""

NO_TRIGGERS = """
DROP TRIGGER note_change ON notifier_apikey;
DROP TRIGGER note_truncate ON notifier_apikey;
DROP TRIGGER note_change ON notifier_deadletter;
DROP TRIGGER note_delete ON notifier_deadletter;
DROP TRIGGER note_truncate ON notifier_deadletter;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("preferences", "0003_history"),
        ("notifier", "0006_skip_for_country_and_staging"),
    ]

    operations = [migrations.RunSQL(TRIGGERS, NO_TRIGGERS)]
