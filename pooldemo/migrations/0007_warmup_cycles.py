"""How often each user is served before a trial's window, at least."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("pooldemo", "0006_own_load"),
    ]

    operations = [
        migrations.AddField(
            model_name="sweep",
            name="warmup_cycles",
            field=models.FloatField(default=0, help_text="or so often as each user takes to be served once"),
        ),
    ]
