"""What a project gets with one line: `path("", include("pooldemo.urls"))`, wherever it wants these addresses."""

from django.urls import path

from pooldemo.monitor import snapshots, views

snapshots.share()  # where the app is not installed

app_name = "pooldemo"
urlpatterns = [
    path("pool/", views.guarded_pool, name="pool"),
    path("metrics", views.metrics, name="metrics"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
]
