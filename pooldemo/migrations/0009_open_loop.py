"""An open loop: whether requests arrive at random, and how late they were sent."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("pooldemo", "0008_splits"),
    ]

    operations = [
        migrations.AddField(
            model_name="sweep",
            name="poisson",
            field=models.BooleanField(default=False, help_text="arrivals at random, not evenly spaced"),
        ),
        migrations.AddField(
            model_name="trial",
            name="late_p95_ms",
            field=models.FloatField(blank=True, help_text="how late requests of an open loop were sent", null=True),
        ),
    ]
