from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trainer", "0006_runs_alarms_and_usage")]

    operations = [
        migrations.AddField("trainingrun", "report", models.JSONField(null=True)),
        migrations.AddField("trainingrun", "second_grader", models.JSONField(blank=True, null=True)),
    ]
