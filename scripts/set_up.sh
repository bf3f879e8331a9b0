#!/usr/bin/env bash
# Set-up from nothing but a Python 3 with pip and a Python 3.10 (or a network to fetch one).
#   set_up.sh dependencies   .venv with exactly requirements/lock.txt, always built anew: a half-made one is never kept
#   set_up.sh project        this project into .venv, editable
#   set_up.sh sanafe         .tools/sanafe with exactly requirements/sanafe.txt: a simulator that some tests compare with, in
#                            an environment of its own, since nothing of it may be imported here (GPL-3)
#   set_up.sh bench          .tools/bench with exactly requirements/bench.txt: frameworks that the benchmarks compare with,
#                            beside the environment, where nothing else can import them
#   set_up.sh lock           the locks in requirements/, resolved anew
# The Makefile writes a stamp after each step that ended well, so an interrupted step is done again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

python_with_pip() {
    local candidate
    for candidate in python3 python /usr/bin/python3 python3.{10..14}; do
        if "$candidate" -m pip --version >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "neuroseg's set-up needs a Python 3 with pip: install one (Debian, Ubuntu: apt install python3-pip), then run make again."
}

# uv, pinned and hashed, in .tools; moved there whole, so that an interrupted download is not taken for it.
bootstrap_uv() {
    local wanted python
    wanted=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements/uv.txt)
    if [[ "$(.tools/bin/uv --version 2>/dev/null)" == "uv $wanted"* ]]; then
        return
    fi
    python=$(python_with_pip)
    rm -rf .tools.partial
    # PIP_USER=0: some distributions make --user the default, which --target excludes. Root is fine: .tools is ours.
    PIP_USER=0 PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
        --target .tools.partial -r requirements/uv.txt ||
        fail "pip could not install uv $wanted: is the package index within reach?"
    rm -rf .tools
    mv .tools.partial .tools
}

is_python310() {
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1
}

# Prints the path of a Python 3.10: on PATH, in pyenv, or fetched by uv into .tools.
find_python310() {
    local candidate
    for candidate in python3.10 python3 python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10*/bin/python3.10; do
        if is_python310 "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    export UV_PYTHON_INSTALL_DIR="$PWD/.tools/python"
    if .tools/bin/uv python install --quiet --no-bin 3.10 >/dev/null 2>&1; then
        .tools/bin/uv python find --managed-python 3.10
        return
    fi
    fail "neuroseg needs Python 3.10 (lava-nc runs on no other): get it with 'pyenv install 3.10' or 'apt install python3.10', then run make again."
}

dependencies() {
    local python quiet=()
    [[ -t 2 ]] || quiet=(--quiet) # progress bars for people only
    bootstrap_uv
    python=$(find_python310)
    echo "Setting up .venv from requirements/lock.txt (7 GB; a minute with a warm cache, longer without) ..."
    rm -rf .venv
    .tools/bin/uv venv --quiet --python "$python" .venv
    .tools/bin/uv pip install "${quiet[@]}" --python .venv/bin/python --no-deps --require-hashes -r requirements/lock.txt
}

project() {
    .tools/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
}

# Never fails: without it those tests are skipped, and say so.
sanafe() {
    local stamp=.tools/sanafe/requirements.txt
    if cmp -s requirements/sanafe.txt "$stamp"; then
        return
    fi
    echo "Setting up .tools/sanafe from requirements/sanafe.txt (6 MB) ..."
    if (bootstrap_uv) && rm -rf .tools/sanafe && .tools/bin/uv venv --quiet --python .venv/bin/python .tools/sanafe &&
        .tools/bin/uv pip install --quiet --python .tools/sanafe/bin/python --no-deps --require-hashes -r requirements/sanafe.txt; then
        cp requirements/sanafe.txt "$stamp"
        return
    fi
    rm -rf .tools/sanafe
    echo "SANA-FE could not be installed: the tests that compare with it are skipped. Is the package index within reach?" >&2
}

# After bootstrap_uv, which may remove .tools; moved there whole. They need what .venv has, so no dependencies.
bench() {
    local made=.tools/bench
    if cmp -s requirements/bench.txt $made/requirements.txt; then
        return
    fi
    echo "Setting up .tools/bench from requirements/bench.txt (3 MB) ..."
    bootstrap_uv
    rm -rf $made $made.partial
    .tools/bin/uv pip install --quiet --python .venv/bin/python --target $made.partial --no-deps --require-hashes \
        -r requirements/bench.txt || fail "the benchmarks' frameworks could not be installed: is the package index within reach?"
    cp requirements/bench.txt $made.partial/requirements.txt
    mv $made.partial $made
}

# The lock names versions and hashes only, never where they come from.
lock() {
    bootstrap_uv
    cd requirements
    local compile=(../.tools/bin/uv pip compile --quiet --upgrade --python-version 3.10 --generate-hashes
        --no-emit-index-url --no-header --no-annotate)
    "${compile[@]}" --override overrides.txt -o lock.txt requirements.in
    "${compile[@]}" --universal -o uv.txt uv.in
    "${compile[@]}" -o sanafe.txt sanafe.in
    "${compile[@]}" --no-deps -o bench.txt bench.in
}

case "${1:-}" in
dependencies | project | sanafe | bench | lock) "$1" ;;
*) fail "usage: scripts/set_up.sh dependencies|project|sanafe|bench|lock" ;;
esac
