import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0006_never_solved'),
        ('trainer', '0009_quiet_hours'),
    ]

    operations = [
        migrations.CreateModel(
            name='CreditName',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(blank=True, max_length=60)),
                ('anonymous', models.BooleanField(default=False)),
                ('team', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='credit_name', to='tasks.team')),
            ],
        ),
        migrations.CreateModel(
            name='CreditEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rows', models.PositiveIntegerField()),
                ('effect', models.JSONField(null=True)),
                ('sums', models.JSONField(default=dict)),
                ('claim', models.CharField(choices=[('better', 'better'), ('worse', 'worse'), ('no difference shown', 'no difference shown'), ('too few rows to tell', 'too few rows to tell')], max_length=24)),
                ('adjusted_p', models.FloatField(default=1.0)),
                ('fewest', models.PositiveIntegerField()),
                ('dataset', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='credit', to='tasks.dataset')),
                ('report', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='credit', to='trainer.gatereport')),
                ('team', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tasks.team')),
            ],
            options={
                'ordering': ['-report_id', '-id'],
                'constraints': [models.UniqueConstraint(fields=('report', 'dataset'), name='one_credit_per_dataset'), models.UniqueConstraint(condition=models.Q(('dataset', None)), fields=('report', 'team'), name='one_credit_per_team')],
            },
        ),
    ]
