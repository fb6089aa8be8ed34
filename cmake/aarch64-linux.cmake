# SPDX-License-Identifier: Apache-2.0
# Toolchain file: 64-bit ARM Linux by Debian's cross compiler (gcc-aarch64-linux-gnu); what is built runs under
# qemu-user. GREGALE_SYSROOT is a folder that scripts/dev/sysroot filled.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)

set(GREGALE_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../build/sysroot CACHE PATH "Libraries and headers for aarch64")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES GREGALE_SYSROOT)
get_filename_component(CMAKE_SYSROOT ${GREGALE_SYSROOT} ABSOLUTE)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${CMAKE_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${CMAKE_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${CMAKE_SYSROOT}/usr/share/pkgconfig)

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-L;${CMAKE_SYSROOT})
