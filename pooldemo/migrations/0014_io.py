"""What PostgreSQL's client backends read and wrote during a trial."""

from django.db import migrations, models

import pooldemo.models


class Migration(migrations.Migration):
    dependencies = [
        ("pooldemo", "0013_window_cycles"),
    ]

    operations = [
        migrations.AddField(
            model_name="trial",
            name="io",
            field=models.JSONField(
                blank=True,
                default=dict,
                encoder=pooldemo.models.StrictEncoder,
                help_text="of PostgreSQL's client backends",
            ),
        ),
    ]
