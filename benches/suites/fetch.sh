#!/bin/sh
# Fetches the tests that run.py runs, of the versions that are installed where they will run:
#
#   sh fetch.sh TESTS SUITE=VERSION…     as in: sh fetch.sh tests torch=2.11.0 cupy=14.2.0
#
# Suites: cupy, numba (numba-cuda's version), rmm, cuda_core, torch. Needs git and GitHub, or mirrors below $GITHUB. What
# is fetched has its own licences and is not committed.
set -eu
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
tests=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# fetch NAME REPOSITORY TAG PATH…: these paths of a repository at a tag, below $scratch/NAME.
fetch() {
    name=$1 from=${GITHUB:-https://github.com}/$2 tag=$3
    shift 3
    git -c advice.detachedHead=false clone -q --depth 1 --filter=blob:none --no-checkout --branch "$tag" "$from" "$scratch/$name"
    git -C "$scratch/$name" sparse-checkout set --no-cone "$@"
    git -C "$scratch/$name" -c advice.detachedHead=false checkout -q
}

# put SUITE: an empty folder for a suite's tests.
put() {
    rm -rf "${tests:?}/$1"
    mkdir -p "$tests/$1"
}

for wanted in "$@"; do
    suite=${wanted%%=*} version=${wanted#*=}
    case $wanted in
        cupy=*)
            fetch cupy cupy/cupy "v$version" /tests/ /pyproject.toml
            put cupy
            mkdir -p "$tests/cupy/tests/cupy_tests"
            cp "$scratch/cupy/pyproject.toml" "$tests/cupy/"
            cp "$scratch/cupy/tests/conftest.py" "$tests/cupy/tests/"
            cp "$scratch/cupy/tests/cupy_tests/__init__.py" "$tests/cupy/tests/cupy_tests/" 2> /dev/null || true
            for part in core cuda creation fft linalg random testing; do
                cp -r "$scratch/cupy/tests/cupy_tests/${part}_tests" "$tests/cupy/tests/cupy_tests/"
            done ;;
        numba=*)
            fetch numba NVIDIA/numba-cuda "v$version" /testing/
            put numba
            # Without the options that ask for plugins which are not there.
            sed 's/^addopts.*/addopts =/' "$scratch/numba/testing/pytest.ini" > "$tests/numba/pytest.ini"
            cp "$scratch/numba/testing/conftest.py" "$tests/numba/numba_conftest.py" ;;
        rmm=*)
            fetch rmm rapidsai/rmm "v$version" /python/rmm/
            put rmm
            cp "$scratch/rmm/python/rmm/pyproject.toml" "$tests/rmm/"
            cp -r "$scratch/rmm/python/rmm/rmm/tests" "$tests/rmm/tests" ;;
        cuda_core=*)
            fetch cuda_core NVIDIA/cuda-python "cuda-core-v$version" /cuda_core/ /cuda_python_test_helpers/
            put cuda_core
            mkdir -p "$tests/cuda_core/cuda_core"
            cp -r "$scratch/cuda_core/cuda_core/tests" "$scratch/cuda_core/cuda_core/pytest.ini" "$tests/cuda_core/cuda_core/"
            cp -r "$scratch/cuda_core/cuda_python_test_helpers" "$tests/cuda_core/" ;;
        torch=*)
            fetch torch pytorch/pytorch "v$version" /test/test_cuda.py /test/test_mempool.py
            put torch
            mkdir -p "$tests/torch/test"
            cp "$scratch"/torch/test/*.py "$tests/torch/test/" ;;
        *) echo "error: $wanted is not SUITE=VERSION" >&2; exit 2 ;;
    esac
    echo "$version" > "$tests/$suite/VERSION"
    echo "$suite $version: $(find "$tests/$suite" -name '*.py' | wc -l) files"
done
