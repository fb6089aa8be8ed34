// SPDX-License-Identifier: Apache-2.0
// failover.h: going on elsewhere when a device fails. Inside the engine room.
#ifndef GREGALE_ENGINE_FAILOVER_H
#define GREGALE_ENGINE_FAILOVER_H

#include "engine/site.h"

// A step of `site`, or a copy out of its cache, failed with `why`; `culprit` as gr_step_run gave it. When the
// fault is a device's, puts the device into quarantine, readies another, and lets every session of the site go
// on there by evaluating its token log again; those with nothing to do wait until somebody asks. Returns
// whether they go on; if not, nothing has changed for them.
bool gr_failover(gr_site *site, const gr_session *culprit, const gr_error *why);

// A device of `site` was lost, or does not answer, while nobody's tokens depended on it: quarantine alone.
void gr_site_blame(gr_site *site, const gr_error *why);

#endif
