"""The sizes of each repeat of a sweep, where not every repeat has them all."""

from django.db import migrations, models

import pooldemo.models


class Migration(migrations.Migration):
    dependencies = [
        ("pooldemo", "0004_causes"),
    ]

    operations = [
        migrations.AddField(
            model_name="sweep",
            name="blocks",
            field=models.JSONField(
                blank=True,
                default=list,
                encoder=pooldemo.models.StrictEncoder,
                help_text="sizes of each repeat; empty: all in each",
            ),
        ),
    ]
