-- SPDX-License-Identifier: Apache-2.0
-- `luarocks make` in a checkout builds the Lua module, with its backends, for a plain lua5.4.
rockspec_format = "3.0"
package = "gregale"
version = "dev-1"
source = { url = "git+file://." }
description = {
  summary = "A runtime for Mistral-family language models",
  detailed = "Load, converse, fork, constrain, generate side by side, move between devices.",
  license = "Apache-2.0",
}
dependencies = { "lua >= 5.4, < 5.5" }
external_dependencies = {
  HWLOC = { header = "hwloc.h" },
  PCRE2 = { header = "pcre2.h" },
  JANSSON = { header = "jansson.h" },
  LIBEDIT = { header = "histedit.h" },
}
build = {
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    CMAKE_INSTALL_PREFIX = "$(PREFIX)",
    CMAKE_INSTALL_LIBDIR = "lib",
    GREGALE_LUA_DIR = "$(LIBDIR)",
    GREGALE_TESTS = "OFF",
  },
}
