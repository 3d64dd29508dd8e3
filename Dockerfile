# The site alone: PostgreSQL, Locust and the rest are services of docker-compose.yml.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

# Without requirements/fast.txt: it wants a compiler, which this image has not, and gunicorn works without it.
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt

# Not root. /app/.local keeps the secret that the first start makes; compose shares it between replicas.
RUN useradd --create-home pooldemo && install -d -m 700 -o pooldemo -g pooldemo .local
COPY . .
USER pooldemo

EXPOSE 8000
CMD ["gunicorn", "-k", "gevent", "--bind", "0.0.0.0:8000", "project.wsgi"]
