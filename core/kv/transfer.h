// SPDX-License-Identifier: Apache-2.0
// transfer.h: copies pages of one cache to another cache of the same model, while the first goes on being
// used. Inside the core. Threads: that of both caches; no step is in flight.
//
// A device that fails is told by gr_kv_cache_culprit of its cache.
//
// Pages that are full are copied ahead. Until the transfer ends it holds a reference to each of them, so that
// nobody writes there (a page that two refer to is copied before it is written) and no number is used anew.
// A page is copied once, whoever shares it: forks and anchors share pages on the other side as they did.
#ifndef GREGALE_KV_TRANSFER_H
#define GREGALE_KV_TRANSFER_H

#include "kv/cache.h"

typedef struct gr_kv_transfer gr_kv_transfer;

// The caches have the same layers, pages and dtype; their devices may differ.
gr_status gr_kv_transfer_create(gr_kv_cache *from, gr_kv_cache *to, gr_kv_transfer **out_transfer, gr_error *error);
// Copies full pages of `seq`, a sequence of `from`, until none is left or `deadline_ns` (gr_os_now_ns) has
// come; one at least, but none when that is 0. *out_left tells how many are left. After an error what was copied stays copied.
gr_status gr_kv_transfer_ahead(gr_kv_transfer *transfer, const gr_kv_seq *seq, uint64_t deadline_ns, uint32_t *out_left,
                               gr_error *error);
// Makes `out_seq` (uninitialised memory), a sequence of `to` that equals `seq`: takes what was copied ahead
// and copies the rest. A failure changes nothing.
gr_status gr_kv_transfer_take(gr_kv_transfer *transfer, const gr_kv_seq *seq, gr_kv_seq *out_seq, gr_error *error);
// Lets go of pages copied ahead that no sequence of `from` refers to any more.
void gr_kv_transfer_forget(gr_kv_transfer *transfer);
// Lessens the demand on `from` (kv/demand.h) by those pages.
void gr_kv_transfer_take_out(const gr_kv_transfer *transfer);
// Lets go of every page that no sequence refers to. NULL is legal.
void gr_kv_transfer_destroy(gr_kv_transfer *transfer);

typedef struct gr_kv_transfer_stats {
    uint64_t pages, bytes; // copied, in the cache's dtype
} gr_kv_transfer_stats;
gr_kv_transfer_stats gr_kv_transfer_stats_get(const gr_kv_transfer *transfer);

#endif
