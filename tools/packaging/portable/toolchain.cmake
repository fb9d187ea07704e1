# SPDX-License-Identifier: Apache-2.0
# Builds for MU_ARCH (x86_64, aarch64) with the oldest glibc that packages run on, from any x86-64 Debian 12. The compiler
# is made by `tools`, the libraries it links by `sysroot`; nothing is taken from this machine.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ${MU_ARCH})
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES MU_ARCH)

execute_process(COMMAND ${CMAKE_CURRENT_LIST_DIR}/tools OUTPUT_VARIABLE tools OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_CURRENT_LIST_DIR}/sysroot ${MU_ARCH} OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/libraries.txt ${CMAKE_CURRENT_LIST_DIR}/sysroot)
set(CMAKE_CXX_COMPILER ${tools}/${MU_ARCH}-c++)
set(CMAKE_AR ${tools}/zig-ar CACHE FILEPATH "")
set(CMAKE_RANLIB ${tools}/zig-ranlib CACHE FILEPATH "")
set(CMAKE_OBJCOPY ${tools}/zig-objcopy CACHE FILEPATH "")

set(CMAKE_FIND_ROOT_PATH ${root})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# A program that can be loaded at any address, as from Debian's compiler; of each library only what is called. Without
# -g0 zig writes debug information, which takes a fifth of the time.
set(CMAKE_CXX_FLAGS_INIT "-fPIE -g0 -ffunction-sections -fdata-sections")
set(CMAKE_EXE_LINKER_FLAGS_INIT -pie)
set(CMAKE_MODULE_LINKER_FLAGS_INIT -fno-pie) # a library is not a program, says zig
