"""The app's addresses; the Contract in docs/design.md fixes their names."""

urlpatterns: list = []
