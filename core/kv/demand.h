// SPDX-License-Identifier: Apache-2.0
// demand.h: whether what sequences are going to take from a cache would fit, before anything is taken. Inside
// the core. Threads: that of the cache.
//
// A demand is added up in the cache, one at a time: cleared, added to, lessened, asked.
#ifndef GREGALE_KV_DEMAND_H
#define GREGALE_KV_DEMAND_H

#include "kv/cache.h"

bool gr_kv_demand_is_bounded(const gr_kv_cache *cache); // by a limit, or by a device that had no more
void gr_kv_demand_clear(gr_kv_cache *cache);
// What `seq` takes until it holds `length` positions, coming in steps of at most `chunk`.
void gr_kv_demand_add(const gr_kv_seq *seq, uint64_t length, uint64_t chunk);
// Less what would become free without `seq`, and without those taken out before: nothing else is done with the
// cache until all are put back.
void gr_kv_demand_take_out(const gr_kv_seq *seq);
void gr_kv_demand_put_back(const gr_kv_seq *seq);
// Whether the limit, and what devices have given so far where one had no more, suffice for the demand.
bool gr_kv_demand_fits(const gr_kv_cache *cache);
// Whether more becomes free than is taken, in any group.
bool gr_kv_demand_frees(const gr_kv_cache *cache);

// How many of `count` positions after the end of `seq` fit, as far as is known.
uint64_t gr_kv_demand_room(const gr_kv_seq *seq, uint64_t count);
// Bytes that a sequence of `length` positions holds at least, alone, when its last one is evaluated.
uint64_t gr_kv_least_bytes(const gr_kv_cache *cache, uint64_t length);
bool gr_kv_seq_is_empty(const gr_kv_seq *seq); // it holds no page

#endif
