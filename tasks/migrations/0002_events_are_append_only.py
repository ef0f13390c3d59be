"""Events and their seals refuse UPDATE and DELETE."""

from django.db import migrations

GUARD = """
CREATE FUNCTION flywheel_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'events are append-only: % on % is refused', TG_OP, TG_TABLE_NAME;
END $$;
CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE ON tasks_event
  FOR EACH ROW EXECUTE FUNCTION flywheel_append_only();
CREATE TRIGGER eventseal_append_only BEFORE UPDATE OR DELETE ON tasks_eventseal
  FOR EACH ROW EXECUTE FUNCTION flywheel_append_only();
"""
UNGUARD = """
DROP TRIGGER event_append_only ON tasks_event;
DROP TRIGGER eventseal_append_only ON tasks_eventseal;
DROP FUNCTION flywheel_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("tasks", "0001_initial")]
    operations = [
        migrations.RunSQL(GUARD, UNGUARD),
    ]
