"""A number for each state of what planning reads of a person: what was read under one never changes (people in a cache).

Triggers count, so that no way of writing is forgotten: API, page, admin, bulk SQL.
"""

from django.db import migrations, models

COUNT = """
-- begins with the time in ms: a database that is made anew does not repeat what one before it left in a cache
DO $$ BEGIN
    EXECUTE format('CREATE SEQUENCE preferences_version START %s', floor(extract(epoch FROM clock_timestamp()) * 1000));
END $$;

-- from a sequence, not by counting up: a row that is deleted and made anew, or saved from an old copy, repeats none
CREATE FUNCTION preferences_new_version() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    NEW.version := nextval('preferences_version');
    RETURN NEW;
END
$$;
CREATE TRIGGER new_version_of_new BEFORE INSERT ON preferences_user
    FOR EACH ROW EXECUTE FUNCTION preferences_new_version();
CREATE TRIGGER new_version BEFORE UPDATE ON preferences_user
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION preferences_new_version();
UPDATE preferences_user SET version = 0;

-- of the people whose choices or devices a statement changed; locked in one order, as two may move devices crosswise
CREATE FUNCTION preferences_touch_people() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    people uuid[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        people := ARRAY(SELECT DISTINCT user_id FROM new_rows ORDER BY 1);
    ELSIF TG_OP = 'DELETE' THEN
        people := ARRAY(SELECT DISTINCT user_id FROM old_rows ORDER BY 1);
    ELSIF TG_OP = 'UPDATE' THEN
        people := ARRAY(SELECT user_id FROM old_rows UNION SELECT user_id FROM new_rows ORDER BY 1);
    ELSE
        people := ARRAY(SELECT id FROM preferences_user ORDER BY 1);
    END IF;
    PERFORM id FROM preferences_user WHERE id = ANY(people) ORDER BY id FOR NO KEY UPDATE;
    UPDATE preferences_user SET version = 0 WHERE id = ANY(people);
    RETURN NULL;
END
$$;
"""
TABLES = ("preferences_preference", "preferences_device")
ROWS = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
    "TRUNCATE": "",
}


def make(_apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(current_schema())")
        cursor.execute(COUNT.replace("{schema}", cursor.fetchone()[0]))
        for table in TABLES:
            for event, rows in ROWS.items():
                cursor.execute(f"""
                    CREATE TRIGGER touch_people_after_{event.lower()} AFTER {event} ON {table} {rows}
                        FOR EACH STATEMENT EXECUTE FUNCTION preferences_touch_people()
                """)


def unmake(_apps, schema_editor):
    for table in TABLES:
        for event in ROWS:
            schema_editor.execute(f"DROP TRIGGER touch_people_after_{event.lower()} ON {table}")
    schema_editor.execute("""
        DROP TRIGGER new_version_of_new ON preferences_user;
        DROP TRIGGER new_version ON preferences_user;
        DROP FUNCTION preferences_touch_people, preferences_new_version;
        DROP SEQUENCE preferences_version;
    """)


class Migration(migrations.Migration):
    dependencies = [("preferences", "0003_history")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="version",
            field=models.BigIntegerField(
                db_default=0,
                default=0,
                editable=False,
                help_text="another after each change of the person, their devices or choices",
            ),
        ),
        migrations.RunPython(make, unmake),
        # the address first: people are read with what is suppressed of theirs, of whichever kind
        migrations.RemoveConstraint(model_name="suppressedaddress", name="suppressed_once_per_address"),
        migrations.AddConstraint(
            model_name="suppressedaddress",
            constraint=models.UniqueConstraint(fields=("address", "kind"), name="suppressed_once_per_address"),
        ),
    ]
