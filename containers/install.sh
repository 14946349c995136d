#!/bin/sh
# What every image does to install: `dependencies` makes /opt/headrace of requirements.txt, the image's lock, and refuses
# a file that has another hash; `package` puts headrace itself into /opt/package, which is laid over it. Two layers: the
# second is small, and the first stays in caches and on nodes while only headrace changes.
set -eu

install() {
  # pip comes from the base image: the environment itself holds none. Where an index needs a password, its pip.conf is
  # a secret of the build, which no layer keeps.
  if [ -f /run/secrets/pip.conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip.conf; fi
  python -m pip --python /opt/headrace/bin/python install --no-cache-dir --no-compile --disable-pip-version-check \
    --root-user-action ignore "$@"
}

compile() {
  # Compiled here, because the user of the image cannot write; by content, because copying may change a file's time.
  # Some packages ship templates that are no Python, and are never imported.
  python -m compileall -qq -j 0 --invalidation-mode unchecked-hash "$1" || true
}

python -m venv --without-pip /opt/headrace
case $1 in
  dependencies)
    # The lock is whole: nothing is resolved again, and nothing comes in that it does not name.
    install --require-hashes --no-deps --requirement requirements.txt
    # What only compilers and test runs read.
    site=$(echo /opt/headrace/lib/python3.*/site-packages)
    rm -rf "$site/tensorflow/include" "$site/pyarrow/include" "$site/pyarrow/tests" "$site/clang"
    compile /opt/headrace/lib
    ;;
  package)
    install --no-deps --prefix /opt/package .
    compile /opt/package/lib
    ;;
esac
