# llama-cpp-python has llama.cpp's "common" library built as well, which it does not use. A normal variable hides the
# cache entry with which it asks for that (CMake policy CMP0126), and saves half of the build's time.
set(LLAMA_BUILD_COMMON OFF)
