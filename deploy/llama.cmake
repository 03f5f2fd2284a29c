# Read by CMake when llama.cpp is compiled for llama-cpp-python. Its `common` library serves llama.cpp's
# own command-line programs, which the Python package does not use; without it, and without the
# vision library (LLAVA_BUILD=OFF), compiling takes 2 minutes instead of 10.
set(LLAMA_BUILD_COMMON OFF)
