#!/usr/bin/env bash
# Makes .venv where needed, then checks the style and runs the tests. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh" test,onnx,av
.venv/bin/ruff check .
exec .venv/bin/python -m pytest "$@"
