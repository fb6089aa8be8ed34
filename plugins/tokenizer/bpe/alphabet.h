// SPDX-License-Identifier: Apache-2.0
// alphabet.h: the printable characters in which byte-level vocabularies spell bytes (GPT-2's map,
// from openai/gpt-2's encoder.py). For the bpe tokenizer. Pure; any thread.
//
// Bytes 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for the code points of the same number; the other
// 68, in ascending order, for U+0100 and on.
#ifndef GREGALE_TOKENIZER_ALPHABET_H
#define GREGALE_TOKENIZER_ALPHABET_H

#include <stddef.h>
#include <stdint.h>

// Writes the character that spells `byte` as UTF-8 and returns its length, 1 or 2.
size_t gr_alphabet_spell(uint8_t byte, char out_bytes[2]);
// Writes the bytes that `piece` spells and returns how many there are, at most `size`. Characters
// outside the alphabet stand for themselves. `out_bytes` may be `piece`.
size_t gr_alphabet_read(const char *piece, size_t size, char *out_bytes);

#endif
