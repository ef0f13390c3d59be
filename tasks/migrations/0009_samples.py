import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0008_held_out'),
    ]

    operations = [
        migrations.CreateModel(
            name='Sample',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('source', models.CharField(choices=[('playground', 'Marked wrong on the playground'), ('program', 'Sent by a program of the team')], max_length=10)),
                ('row', models.JSONField(null=True)),
                ('asked_as', models.CharField(max_length=160)),
                ('version', models.CharField(max_length=120)),
                ('answer', models.TextField(blank=True)),
                ('score', models.FloatField(null=True)),
                ('feedback', models.CharField(blank=True, max_length=1000)),
                ('licence', models.CharField(max_length=60)),
                ('consent_version', models.CharField(max_length=20)),
                ('line', models.PositiveIntegerField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('sent_at', models.DateTimeField(null=True)),
                ('collected_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('team', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='samples', to='tasks.team')),
                ('upload', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='samples', to='tasks.upload')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(condition=models.Q(('upload', None)), fields=['team'], name='sample_waiting')],
            },
        ),
    ]
