"""Workers as a second axis: a sweep may have several numbers of them, and a trial is one of those."""

from typing import Any

from django.db import migrations, models

import pooldemo.models


def forget(apps: Any, editor: Any) -> None:
    """On the way back: the trials of other numbers of workers, of which the table knew one for each sweep."""
    trials = apps.get_model("pooldemo", "Trial").objects.using(editor.connection.alias)
    trials.exclude(workers=models.F("sweep__workers")).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("pooldemo", "0007_warmup_cycles"),
    ]

    operations = [
        migrations.AddField(
            model_name="sweep",
            name="splits",
            field=models.JSONField(
                blank=True,
                default=list,
                encoder=pooldemo.models.StrictEncoder,
                help_text="numbers of workers; empty: one alone",
            ),
        ),
        migrations.AddField(
            model_name="trial",
            name="uneven",
            field=models.FloatField(blank=True, help_text="between two workers' efficiencies, at most", null=True),
        ),
        migrations.RemoveConstraint(model_name="trial", name="one_trial_each"),
        migrations.AddConstraint(
            model_name="trial",
            constraint=models.UniqueConstraint(
                models.F("sweep"),
                models.F("stack"),
                models.F("size"),
                models.F("repeat"),
                models.F("workers"),
                name="one_trial_each",
            ),
        ),
        migrations.RunPython(migrations.RunPython.noop, forget),
    ]
