"""What a verdict is drawn from besides: the margin of a sweep, the place and the workers of a trial."""

from typing import Any

from django.db import migrations, models


def fill(apps: Any, editor: Any) -> None:
    """A trial had as many workers as its sweep."""
    sweeps, trials = (
        apps.get_model("pooldemo", name).objects.using(editor.connection.alias) for name in ("Sweep", "Trial")
    )
    trials.update(workers=models.Subquery(sweeps.filter(pk=models.OuterRef("sweep")).values("workers")))


class Migration(migrations.Migration):
    dependencies = [
        ("pooldemo", "0002_sweep"),
    ]

    operations = [
        migrations.AddField(
            model_name="sweep",
            name="margin",
            field=models.FloatField(default=5, help_text="percent that a size may carry less than the best"),
        ),
        migrations.AddField(
            model_name="trial",
            name="order",
            field=models.PositiveIntegerField(default=0, help_text="its place in the sweep, from 1; 0: not known"),
        ),
        migrations.AddField(
            model_name="trial",
            name="workers",
            field=models.PositiveIntegerField(default=1),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
