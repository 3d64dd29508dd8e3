# The site alone, and Locust; what stands around it is deploy/Dockerfile and docker-compose.yml.
FROM python:3.13-slim-bookworm AS site

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

# Without requirements/fast.txt: it wants a compiler, which this image has not, and gunicorn works without it.
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt

# Not root, and nothing under /app is its own but .local, where an install keeps what it made for itself.
RUN useradd --uid 10001 --create-home pooldemo && install -d -m 700 -o pooldemo -g pooldemo .local
COPY . .
USER pooldemo

EXPOSE 8000
# With DATABASE_URL and SECRET_KEY. The compose file's way, which reads secrets and drains: deploy/services/web.
CMD ["gunicorn", "-k", "gevent", "--bind", "0.0.0.0:8000", "project.wsgi"]

# What `docker build .` makes, and Kubernetes runs: the same, and no shell for whoever comes in by a hole.
FROM site
USER root
RUN ["python", "-c", "import pathlib; [each.unlink() for name in ('bash', 'dash', 'rbash', 'sh') for each in pathlib.Path('/usr/bin').glob(name)]"]
USER pooldemo
