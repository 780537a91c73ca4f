#!/usr/bin/env bash
# Makes .venv where needed, then checks style and types and runs the tests, a process a core. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh" test,onnx,av,serve,milvus,ray
source scripts/browser.sh
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
export OMP_NUM_THREADS=1  # threads of a network on top of the processes would wait for each other
exec .venv/bin/python -m pytest -n auto --dist loadfile "$@"
