// SPDX-License-Identifier: Apache-2.0
// utf8.h: reading UTF-8 by RFC 3629 (no overlong forms, no surrogates). Inside the core. Any thread.
#ifndef GREGALE_BASE_UTF8_H
#define GREGALE_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

// Decodes one code point from `bytes` (at most `size`): returns its length 1 to 4 and sets
// *out_code_point; 0 when the bytes are not UTF-8; -1 when they are cut off but good so far.
int gr_utf8_decode(const char *bytes, size_t size, uint32_t *out_code_point);
// Writes `code_point` to `out` (4 bytes) and returns the length; 0 when it is not a scalar value.
int gr_utf8_encode(uint32_t code_point, char out[4]);
// Offset of the first byte that breaks UTF-8, or `size` when all is well.
size_t gr_utf8_valid(const char *bytes, size_t size);
// How many bytes at the front are whole code points or certainly broken: what may be shown now while
// the rest waits for more input.
size_t gr_utf8_complete(const char *bytes, size_t size);

#endif
