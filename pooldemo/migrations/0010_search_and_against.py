"""The search for the highest rate, the rates that it tried; and stacks of another commit, whose names are longer."""

from typing import Any

from django.db import migrations, models
from django.db.models.functions import Length

import pooldemo.models


def forget(apps: Any, editor: Any) -> None:
    """On the way back: the trials of stacks whose names the table had no room for."""
    trials = apps.get_model("pooldemo", "Trial").objects.using(editor.connection.alias)
    trials.annotate(length=Length("stack")).filter(length__gt=40).delete()


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
        migrations.RunPython(migrations.RunPython.noop, forget),
    ]
