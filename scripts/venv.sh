# Sourced by the other scripts: makes .venv in the repository root where it is needed and installs
# the package in it with the extras named in $1 (may be empty). Does nothing when setup.cfg and the
# extras are as at the last installation.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras=${1:-}
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    { echo "c3dhash needs Python 3.10 or newer; '$python' is $("$python" --version 2>&1). Set PYTHON to another one." >&2; exit 1; }
if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv ||
        { echo "could not make .venv: on Debian and Ubuntu, 'apt-get install python3-venv' first." >&2; exit 1; }
fi
stamp=.venv/c3dhash-installed${extras:+-$extras}
if ! cmp -s setup.cfg "$stamp"; then
    echo "Installing c3dhash${extras:+[$extras]} into .venv (PyTorch is large: some minutes the first time) ..." >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}" >&2
    cp setup.cfg "$stamp"
fi
