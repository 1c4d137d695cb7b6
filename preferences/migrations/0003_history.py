"""The history: its table, the triggers that write it, those that keep it, and the two ways through (docs/audit.md)."""

import django.db.models.fields.json
import django.db.models.functions.comparison
import django.db.models.functions.datetime
from django.db import migrations, models

# Arguments of the trigger: the kind, the column that names the person concerned (or ''), and the columns that are
# secret or no change worth a row. Every other column is in the history, also one that is added later.
NOTE_CHANGE = """
CREATE FUNCTION preferences_named(doc jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT doc
        || CASE WHEN doc ? 'group_id' THEN jsonb_build_object(
            'group', (SELECT name FROM auth_group WHERE id = (doc ->> 'group_id')::int)) ELSE '{}' END
        || CASE WHEN doc ? 'permission_id' THEN jsonb_build_object(
            'permission', (SELECT codename FROM auth_permission WHERE id = (doc ->> 'permission_id')::int)) ELSE '{}' END
$$;

CREATE FUNCTION preferences_actor() RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT '{"name": ""}' || COALESCE(
        NULLIF(current_setting('notifier.acting', true), '')::jsonb,
        jsonb_build_object('kind', 'DATABASE', 'name', session_user, 'origin', jsonb_strip_nulls(jsonb_build_object(
            'application', NULLIF(current_setting('application_name'), ''), 'ip', host(inet_client_addr())))))
$$;

CREATE FUNCTION preferences_note_change() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    hidden text[] := TG_ARGV[2:];
    old_row jsonb := preferences_named(to_jsonb(OLD) - hidden);
    new_row jsonb := preferences_named(to_jsonb(NEW) - hidden);
    old_part jsonb := old_row;
    new_part jsonb := new_row;
    actor jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF old_row = new_row THEN
            RETURN NULL;
        END IF;
        SELECT jsonb_object_agg(key, value) INTO old_part
        FROM jsonb_each(old_row) WHERE value IS DISTINCT FROM new_row -> key;
        SELECT jsonb_object_agg(key, value) INTO new_part
        FROM jsonb_each(new_row) WHERE value IS DISTINCT FROM old_row -> key;
    END IF;
    actor := preferences_actor();
    INSERT INTO preferences_change (action, kind, object_id, person_id, before, after, actor_kind, actor, origin)
    SELECT TG_OP, TG_ARGV[0], COALESCE(COALESCE(new_row, old_row) ->> 'id', ''), concerned.id, old_part, new_part,
           actor ->> 'kind', left(actor ->> 'name', 150), NULLIF(actor -> 'origin', '{}')
    -- what passes from one person to another is in the history of both
    FROM (SELECT (old_row ->> TG_ARGV[1])::uuid UNION SELECT (new_row ->> TG_ARGV[1])::uuid) AS concerned(id)
    WHERE concerned.id IS NOT NULL OR TG_ARGV[1] = '' OR TG_OP = 'TRUNCATE';
    RETURN NULL;
END
$$;
"""

KEEP_HISTORY = """
CREATE FUNCTION preferences_blanked(doc jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_object_agg(key, CASE
        WHEN jsonb_typeof(value) <> 'string' OR value = '""'
             OR key IN ('id', 'user_id', 'created_at', 'kind', 'reason', 'platform') THEN value
        ELSE '"(erased)"' END)
    FROM jsonb_each(doc)
$$;

CREATE FUNCTION preferences_keep_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    way text := current_setting('notifier.history', true);
    free text[] := '{before,after,origin,blanked_at}';
BEGIN
    -- who knows the setting may still do no more than what it is for
    IF TG_OP = 'UPDATE' AND way = 'blank' AND to_jsonb(OLD) - free = to_jsonb(NEW) - free
       AND (NEW.before IS NOT DISTINCT FROM OLD.before OR NEW.before = preferences_blanked(OLD.before))
       AND (NEW.after IS NOT DISTINCT FROM OLD.after OR NEW.after = preferences_blanked(OLD.after))
       AND (NEW.origin IS NOT DISTINCT FROM OLD.origin OR NEW.origin IS NULL)
    THEN
        RETURN NEW;
    ELSIF TG_OP = 'DELETE' AND way = 'forget' AND OLD.at < statement_timestamp() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'The history is append-only: no % of preferences_change (docs/audit.md).', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER keep_history BEFORE UPDATE OR DELETE ON preferences_change
    FOR EACH ROW EXECUTE FUNCTION preferences_keep_history();
CREATE TRIGGER keep_whole_history BEFORE TRUNCATE ON preferences_change
    FOR EACH STATEMENT EXECUTE FUNCTION preferences_keep_history();
"""

# with the rights of the tables' owner, so that the application's role may be without UPDATE and DELETE
WAYS_THROUGH = """
CREATE PROCEDURE preferences_blank_history(person uuid, addresses text[], INOUT rows bigint) LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    actor jsonb := preferences_actor();
    suppressed bigint;
BEGIN
    SELECT addresses || array_agg(DISTINCT address) INTO addresses
    FROM preferences_change AS change, unnest(ARRAY[
        lower(change.before ->> 'email'), lower(change.after ->> 'email'),
        change.before ->> 'phone', change.after ->> 'phone']) AS address
    WHERE change.person_id = person AND change.kind = 'PERSON' AND address <> '';
    PERFORM set_config('notifier.history', 'blank', true);
    UPDATE preferences_change AS change
    SET before = preferences_blanked(before), after = preferences_blanked(after), blanked_at = statement_timestamp(),
        origin = CASE WHEN change.actor_kind = 'CUSTOMER' THEN NULL ELSE origin END
    WHERE person_id = person AND action <> 'BLANK' AND kind IN ('PERSON', 'DEVICE');
    GET DIAGNOSTICS rows = ROW_COUNT;
    UPDATE preferences_change AS change SET origin = NULL
    WHERE person_id = person AND change.actor_kind = 'CUSTOMER' AND origin IS NOT NULL;
    UPDATE preferences_change AS change
    SET before = preferences_blanked(before), after = preferences_blanked(after), blanked_at = statement_timestamp()
    WHERE kind = 'SUPPRESSED_ADDRESS' AND COALESCE(after ->> 'address', before ->> 'address') = ANY(addresses)
        AND blanked_at IS NULL;
    GET DIAGNOSTICS suppressed = ROW_COUNT;
    rows := rows + suppressed;
    PERFORM set_config('notifier.history', '', true);
    INSERT INTO preferences_change (action, kind, object_id, person_id, after, actor_kind, actor, origin)
    SELECT 'BLANK', 'PERSON', COALESCE(person::text, ''), person, jsonb_build_object('rows', rows),
           actor ->> 'kind', left(actor ->> 'name', 150), NULLIF(actor -> 'origin', '{}')
    WHERE rows > 0;
END
$$;

CREATE PROCEDURE preferences_forget_history(until timestamptz, INOUT rows bigint) LANGUAGE plpgsql
SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    actor jsonb := preferences_actor();
BEGIN
    PERFORM set_config('notifier.history', 'forget', true);
    DELETE FROM preferences_change
    WHERE id = ANY(ARRAY(SELECT id FROM preferences_change WHERE at < until ORDER BY at LIMIT rows));
    GET DIAGNOSTICS rows = ROW_COUNT;
    PERFORM set_config('notifier.history', '', true);
    INSERT INTO preferences_change (action, kind, object_id, after, actor_kind, actor, origin)
    SELECT 'FORGET', 'HISTORY', '', jsonb_build_object('rows', rows, 'until', until),
           actor ->> 'kind', left(actor ->> 'name', 150), NULLIF(actor -> 'origin', '{}')
    WHERE rows > 0;
END
$$;
"""

# table, kind, column of the person, columns that are left out
TRACKED = (
    ("preferences_user", "PERSON", "id", "password", "last_login", "version"),
    ("preferences_device", "DEVICE", "user_id", "token"),
    ("preferences_preference", "PREFERENCE", "user_id", "updated_at"),
    ("preferences_suppressedaddress", "SUPPRESSED_ADDRESS", ""),
    ("preferences_user_groups", "MEMBERSHIP", "user_id"),
    ("preferences_user_user_permissions", "PERMISSION", "user_id"),
    ("auth_group", "GROUP", ""),
    ("auth_group_permissions", "GROUP_PERMISSION", ""),
)


def make(_apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(current_schema())")
        schema = cursor.fetchone()[0]
        for sql in (NOTE_CHANGE, KEEP_HISTORY, WAYS_THROUGH):
            cursor.execute(sql.replace("{schema}", schema))
        for table, *arguments in TRACKED:
            told = ", ".join(f"'{argument}'" for argument in arguments)
            cursor.execute(f"""
                CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON {table}
                    FOR EACH ROW EXECUTE FUNCTION preferences_note_change({told});
                CREATE TRIGGER note_truncate BEFORE TRUNCATE ON {table}
                    FOR EACH STATEMENT EXECUTE FUNCTION preferences_note_change({told});
            """)


def unmake(_apps, schema_editor):
    for table, *_ in TRACKED:
        schema_editor.execute(f"DROP TRIGGER note_change ON {table}; DROP TRIGGER note_truncate ON {table}")
    schema_editor.execute("""
        DROP TRIGGER keep_history ON preferences_change;
        DROP TRIGGER keep_whole_history ON preferences_change;
        DROP PROCEDURE preferences_blank_history, preferences_forget_history;
        DROP FUNCTION preferences_note_change, preferences_keep_history, preferences_blanked, preferences_actor,
            preferences_named;
    """)


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("preferences", "0002_quiet_hours"),
    ]

    operations = [
        migrations.CreateModel(
            name="Change",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("INSERT", "added"),
                            ("UPDATE", "changed"),
                            ("DELETE", "deleted"),
                            ("TRUNCATE", "table emptied"),
                            ("BLANK", "blanked"),
                            ("FORGET", "deleted"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("PERSON", "Person"),
                            ("DEVICE", "Device"),
                            ("PREFERENCE", "Preference"),
                            ("SUPPRESSED_ADDRESS", "Suppressed address"),
                            ("MEMBERSHIP", "Membership"),
                            ("PERMISSION", "Permission"),
                            ("GROUP", "Group"),
                            ("GROUP_PERMISSION", "Group permission"),
                            ("API_KEY", "API key"),
                            ("DEAD_LETTER", "Dead letter"),
                            ("HISTORY", "History"),
                        ],
                        max_length=20,
                    ),
                ),
                ("object_id", models.CharField(blank=True, help_text="the changed row's", max_length=40)),
                ("person_id", models.UUIDField(help_text="whom it concerns", null=True)),
                ("before", models.JSONField(help_text="of an UPDATE only what differs", null=True)),
                ("after", models.JSONField(null=True)),
                (
                    "actor_kind",
                    models.CharField(
                        choices=[
                            ("API_KEY", "API key"),
                            ("STAFF", "Staff"),
                            ("CUSTOMER", "Customer"),
                            ("COMMAND", "Command"),
                            ("ENGINE", "Engine"),
                            ("DATABASE", "Database"),
                        ],
                        max_length=8,
                    ),
                ),
                ("actor", models.CharField(blank=True, max_length=150)),
                ("origin", models.JSONField(help_text="from where: IP, request id, page", null=True)),
                ("blanked_at", models.DateTimeField(help_text="the addresses were taken out", null=True)),
            ],
            options={
                "verbose_name": "change",
                "verbose_name_plural": "history",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("person_id__isnull", False)),
                        fields=["person_id", "-id"],
                        name="change_person",
                    ),
                    models.Index(fields=["object_id", "-id"], name="change_object"),
                    models.Index(fields=["actor", "-id"], name="change_actor"),
                    models.Index(fields=["at"], name="change_at"),
                    models.Index(
                        django.db.models.functions.comparison.Coalesce(
                            django.db.models.fields.json.KeyTextTransform("address", "after"),
                            django.db.models.fields.json.KeyTextTransform("address", "before"),
                        ),
                        condition=models.Q(("kind", "SUPPRESSED_ADDRESS")),
                        name="change_suppressed",
                    ),
                ],
            },
        ),
        migrations.RunPython(make, unmake),
    ]
