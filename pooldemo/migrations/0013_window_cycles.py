"""For how long a trial measures, by its requests."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("pooldemo", "0012_shared"),
    ]

    operations = [
        migrations.AddField(
            model_name="sweep",
            name="window_cycles",
            field=models.FloatField(default=0, help_text="or so many times as long as its requests need"),
        ),
    ]
