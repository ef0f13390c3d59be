import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0009_samples'),
        ('trainer', '0014_suites'),
    ]

    operations = [
        migrations.CreateModel(
            name='DomainCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('domains', models.JSONField(default=dict)),
                ('needed', models.JSONField(default=dict)),
                ('policy', models.CharField(max_length=64)),
                ('seconds', models.FloatField(default=0.0)),
                ('counted_at', models.DateTimeField()),
                ('champion', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='trainer.modelversion')),
                ('line', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='domain_count', to='trainer.line')),
            ],
        ),
    ]
