# A gallery, served by a user who is not root, on the CPU. docs/serve.md says what to mount.
FROM python:3.12-slim

ARG PIP_EXTRA_INDEX_URL=""
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

WORKDIR /opt/c3dhash
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY c3dhash ./c3dhash
RUN pip install --no-cache-dir ".[serve,av]" && useradd --create-home --uid 10001 c3dhash

USER c3dhash
WORKDIR /home/c3dhash
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-c", \
    "import os; from c3dhash.client import Client; Client('http://127.0.0.1:8000', token=os.environ.get('C3DHASH_TOKEN')).health()"]
# The token comes from C3DHASH_TOKEN; without one it does not start, since other machines may reach it.
ENTRYPOINT ["c3dhash", "serve", "--gallery", "/data/gallery", "--host", "0.0.0.0"]
