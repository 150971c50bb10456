# What llama.cpp is built with here and in the README's commands.

# llama-cpp-python has llama.cpp's "common" library built as well, which it does not use. A normal variable hides the
# cache entry with which it asks for that (CMake policy CMP0126), and saves half of the build's time.
set(LLAMA_BUILD_COMMON OFF)

# These compilers drop the stores that fill in a tile configuration (GCC bug 114098): on a processor with AMX every batch
# then ends in a general protection fault. Without AMX the kernels for AVX-512 are used.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64"
   AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 11
   AND (CMAKE_CXX_COMPILER_VERSION VERSION_LESS 11.5
        OR (CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 12 AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12.4)
        OR (CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 13 AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13.3)))
  add_compile_options(-mno-amx-tile -mno-amx-int8 -mno-amx-bf16)
endif()
