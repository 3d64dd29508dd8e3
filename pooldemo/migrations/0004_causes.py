"""What held a trial up: the machine's host, a container's quota, what PostgreSQL's backends wait for."""

from django.db import migrations, models

import pooldemo.models


class Migration(migrations.Migration):
    dependencies = [
        ("pooldemo", "0003_judged"),
    ]

    operations = [
        migrations.AddField(
            model_name="trial",
            name="steal_cpu",
            field=models.FloatField(blank=True, help_text="cores that the machine's host gave to others", null=True),
        ),
        migrations.AddField(
            model_name="trial",
            name="throttled",
            field=models.FloatField(
                blank=True, help_text="share of a container's periods without quota left", null=True
            ),
        ),
        migrations.AddField(
            model_name="trial",
            name="waits",
            field=models.JSONField(blank=True, default=dict, encoder=pooldemo.models.StrictEncoder),
        ),
    ]
