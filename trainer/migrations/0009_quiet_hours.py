from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("trainer", "0008_webhooks")]

    operations = [
        migrations.AddField("schedule", "quiet_from", models.TimeField(blank=True, null=True)),
        migrations.AddField("schedule", "quiet_to", models.TimeField(blank=True, null=True)),
        migrations.AddField("schedule", "quiet_days", models.JSONField(blank=True, default=list)),
        migrations.AddField("firing", "deferred_to", models.DateTimeField(null=True)),
        migrations.AlterField(
            "firing",
            "outcome",
            models.CharField(
                choices=[("ran", "Ran"), ("skipped", "Skipped"), ("deferred", "Deferred")], max_length=10
            ),
        ),
        migrations.AddConstraint(
            "firing",
            models.UniqueConstraint(
                condition=models.Q(("outcome", "deferred")),
                fields=("schedule",),
                name="one_deferred_firing_per_schedule",
            ),
        ),
    ]
