#!/usr/bin/env bash
# keras-nlp: releases that say they run on Python 3.10 can never be installed
# there.
#
# Expected. `Requires-Python: >=3.10` means that pip on Python 3.10 may choose
# the release; pip skips releases whose Requires-Python excludes it, and so
# `pip install keras-nlp` ends at the newest that fits.
#
# What happens with 0.26.0 to 0.32.0. keras-nlp is a package without code that
# pins the keras-hub of its own version. That keras-hub needs Python 3.11;
# keras-nlp kept ">=3.10". So pip takes the newest keras-nlp, finds that its one
# requirement does not exist for this Python, and walks back release by release
# to 0.25.1. Alone that takes a minute; as one of a dozen requirements with
# their own choices the search was stopped after a quarter of an hour. Asked for
# by version, it is "no matching distribution" for a package nobody named.
#
# Who meets it. Every project on Python 3.10 that requires keras-nlp without an
# upper bound.
#
# What to do:
#   keras-nlp>=0.21,<0.26; python_version < "3.11"
#
# Versions: keras-nlp and keras-hub 0.25.1, 0.26.0, 0.32.0. Any Python 3 with
# pip; pip is asked on behalf of Python 3.10. Takes a minute.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
cd "$folder"

for version in 0.25.1 0.26.0 0.32.0; do
    for package in keras-nlp keras-hub; do
        venv/bin/pip download --quiet --disable-pip-version-check --no-deps \
            --only-binary=:all: --python-version=3.12 --dest=wheels \
            "$package==$version"
    done
    said=0
    venv/bin/pip install --quiet --disable-pip-version-check --dry-run \
        --ignore-installed --target=none --only-binary=:all: \
        --python-version=3.10 "keras-nlp==$version" 2>errors.txt || said=$?
    echo "keras-nlp $version on Python 3.10: pip's status $said"
    if [ "$version" = 0.25.1 ]; then wanted=0; else wanted=1; fi
    if [ "$said" != "$wanted" ]; then
        cat errors.txt
        echo "CHANGED: status $wanted was seen before"
        exit 1
    fi
    if [ "$said" = 1 ]; then
        grep --max-count=1 "No matching distribution found for keras-hub" \
            errors.txt
    fi
done

venv/bin/python - <<'PYTHON'
import pathlib
import zipfile

found = {}
for path in sorted(pathlib.Path("wheels").glob("*.whl")):
    with zipfile.ZipFile(path) as wheel:
        name = next(n for n in wheel.namelist() if n.endswith("/METADATA"))
        lines = wheel.read(name).decode().splitlines()
    package, version = path.name.split("-")[:2]
    needs = next(x.split(": ")[1] for x in lines if x.startswith("Requires-Py"))
    found[package, version] = needs
    print(f"{package} {version}: Requires-Python {needs}")
assert found == {
    ("keras_nlp", "0.25.1"): ">=3.10", ("keras_hub", "0.25.1"): ">=3.10",
    ("keras_nlp", "0.26.0"): ">=3.10", ("keras_hub", "0.26.0"): ">=3.11",
    ("keras_nlp", "0.32.0"): ">=3.10", ("keras_hub", "0.32.0"): ">=3.11",
}, "CHANGED"
print("as described")
PYTHON
