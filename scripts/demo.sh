#!/usr/bin/env bash
# Makes .venv where needed, then runs the whole road on a small generated data set. Arguments go to `c3dhash demo`.
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
exec .venv/bin/c3dhash demo "$@"
