"""`ENGINE: "pooldemo.postgresql.postgis"`: the pool under GeoDjango."""
