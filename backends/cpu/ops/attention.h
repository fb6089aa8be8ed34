// SPDX-License-Identifier: Apache-2.0
// attention.h: the parts of ATTENTION.
//
// The unit of work is a tile: a few rows of the step, and the query heads that share a KV head. The
// rows are of one sequence or of forks that share pages. Keys are taken in chunks of 256 positions,
// cut at multiples of 256 whatever the batch. Each chunk gives a largest score, a sum of
// exponentials and a weighted sum of values; chunks are merged in ascending order (Milakov and
// Gimelshein 2018, arXiv 1805.02867). So a row's bits depend on its own keys alone, also when
// chunks of one tile are spread over workers, or when the chunk is read once for several sequences.
#ifndef GREGALE_BACKENDS_CPU_ATTENTION_H
#define GREGALE_BACKENDS_CPU_ATTENTION_H

#include "cpu.h"

#define CPU_KEYS 256                        // positions in a chunk
#define CPU_SCORES (CPU_KEYS + CPU_COLUMNS) // its last panel may reach beyond it
#define CPU_DENSE 64                        // positions of dense values made into panels at once
#define CPU_QUERIES 64                      // rows times heads in a tile, at most
#define CPU_SPLIT_ROWS 64                   // up to so many rows, chunks may be spread over workers
#define CPU_SPLIT_FLOATS (2u << 20)         // of whose results there are about so many

// What all tiles of one call share.
typedef struct cpu_attention {
    const cpu_call *call;
    const cpu_task *task;
    const gr_step *step;
    const gr_attrs_attention *attrs;
    cpu_pages pages;
    bool dense;
    uint32_t group;                // query heads of a KV head
    uint32_t heads;                // of them in a tile
    uint32_t rows;                 // in a tile, at most
    uint32_t parts;                // tiles that the heads of one KV head make
    uint32_t v_pad;                // dimensions of values, rounded up to whole panels
    uint32_t key_step, value_step; // bytes that a row of keys' and values' panels takes
    uint32_t value_width;          // dimensions in those
    void (*keys)(const cpu_attend_args *args);
    void (*values)(const cpu_attend_args *args);
    // The worker's scratch: queries and, one row a query, scores, weighted sums of a chunk and of
    // all; panels of dense keys and values.
    float *q, *scores, *sums, *total, *panels;
} cpu_attention;

// Results of a chunk, or of all so far, for one query; the weighted sum stands apart.
typedef struct cpu_softmax {
    float largest, sum;
} cpu_softmax;

typedef struct cpu_tile_rows {
    uint32_t first, count; // rows of the step
    uint32_t kv_head, head, heads;
    int64_t low, high; // positions that any of the rows sees
} cpu_tile_rows;

// Bytes of scratch a worker needs.
uint64_t cpu_attention_private(const gr_attrs_attention *attrs);
// Sets up `out` for a call in a step; `scratch` may be NULL when only tiles are counted.
void cpu_attention_init(const cpu_call *call, const cpu_task *task, uint8_t *scratch,
                        cpu_attention *out);
// The positions that the query of row t sees: [*first, *last], empty when last < first.
void cpu_attention_visible(const gr_attrs_attention *attrs, const gr_step *step, bool dense,
                           uint32_t t, int64_t *first, int64_t *last);
uint64_t cpu_attention_tiles(const cpu_attention *a);
// Tile `index`. All tiles of a KV head stand together, the rows that see most first.
void cpu_attention_tile(const cpu_attention *a, uint64_t index, cpu_tile_rows *out_tile);
// Copies the tile's queries into the scratch, scaled.
void cpu_attention_load(const cpu_attention *a, const cpu_tile_rows *tile);
// One chunk for all queries of a loaded tile: `states` [queries] and `sums` [queries][v_pad].
void cpu_attention_chunk(const cpu_attention *a, const cpu_tile_rows *tile, int64_t chunk,
                         cpu_softmax *states, float *sums);
// Merges a chunk's result into that of the chunks before it.
void cpu_attention_merge(cpu_softmax *total, float *total_sum, const cpu_softmax *chunk,
                         const float *sum, uint32_t v_pad);
// Writes the tile's output rows.
void cpu_attention_store(const cpu_attention *a, const cpu_tile_rows *tile,
                         const cpu_softmax *states, const float *sums);

#endif
