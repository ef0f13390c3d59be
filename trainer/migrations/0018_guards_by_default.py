"""Evaluations from before guards said who named them: where the line names none, theirs were given by default."""

from typing import Any

from django.db import migrations


def mark(apps: Any, schema_editor: Any) -> None:
    for evaluation in apps.get_model("trainer", "Evaluation").objects.select_related("line").iterator():
        guards = evaluation.policy.get("guards") or []
        if guards and not evaluation.line.policy.get("guards"):
            evaluation.policy["guards"] = [{**guard, "by_default": True} for guard in guards]
            evaluation.save(update_fields=["policy"])


class Migration(migrations.Migration):
    dependencies = [("trainer", "0017_alias_locks")]
    operations = [migrations.RunPython(mark, migrations.RunPython.noop)]
