#!/usr/bin/env bash
# Builds what lorid is measured against, from the llama.cpp that llama-cpp-python 0.3.36 carries:
# llama-batched-bench, llama-server, and the shared libraries for both.
#
#     benchmarks/build_peers.sh peers        # about 25 minutes on one core
#
# The benchmarks then set LLAMA_CPP_LIB_PATH=peers/build/bin, which llama-cpp-python honours: so
# lorid, stock `Llama` objects and the two programs run the very same libraries. They are built
# without Intel's AMX, because what GCC before 13 makes of those layouts crashes, and stock `Llama`
# objects cannot leave them out (lorid does).
set -euo pipefail
mkdir -p "${1:?give a folder}"
cd "$1"
version=0.3.36 flags="-mno-amx-tile -mno-amx-int8"
case $(uname -m) in x86_64) ;; *) flags="" ;; esac
[ -d "llama_cpp_python-$version" ] || {
  pip download -q --no-binary llama-cpp-python --no-deps "llama-cpp-python==$version" -d .
  tar xf "llama_cpp_python-$version.tar.gz"
}
cmake -S "llama_cpp_python-$version/vendor/llama.cpp" -B build -DCMAKE_BUILD_TYPE=Release \
  -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF \
  "-DCMAKE_C_FLAGS=$flags" "-DCMAKE_CXX_FLAGS=$flags"
cmake --build build --target llama llama-batched-bench llama-server -j "${JOBS:-1}"
