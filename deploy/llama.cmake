# Read by CMake when llama.cpp is compiled for llama-cpp-python. Its `common` library serves llama.cpp's
# own command-line programs, which the Python package does not use; without it, and without the
# vision library (LLAVA_BUILD=OFF), compiling takes 2 minutes instead of 10.
set(LLAMA_BUILD_COMMON OFF)

# Without llama.cpp's code for AMX, the matrix unit of newer Intel processors: the first prompt ended in a
# segmentation fault there. Compilers (GCC 12 is one) drop most of the tile configuration that it loads, since
# their own intrinsic names only its first eight bytes. The same models run with AVX-512 instead.
if(NOT MSVC)
  add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:-U__AMX_TILE__>)
  add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:-U__AMX_INT8__>)
  add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:-U__AMX_BF16__>)
endif()
