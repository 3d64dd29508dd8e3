"""The search for the highest rate, the rates that it tried; and stacks of another commit, whose names are longer."""

from django.db import migrations, models

import pooldemo.models


class Migration(migrations.Migration):
    dependencies = [
        ("pooldemo", "0009_open_loop"),
    ]

    operations = [
        migrations.AddField(
            model_name="sweep",
            name="search",
            field=models.BooleanField(default=False, help_text="for the highest rate that meets the SLO"),
        ),
        migrations.AddField(
            model_name="trial",
            name="steps",
            field=models.JSONField(
                blank=True, default=list, encoder=pooldemo.models.StrictEncoder, help_text="rates that a search tried"
            ),
        ),
        migrations.AlterField(
            model_name="trial",
            name="stack",
            field=models.CharField(max_length=200),
        ),
    ]
