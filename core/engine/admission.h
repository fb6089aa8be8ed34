// SPDX-License-Identifier: Apache-2.0
// admission.h: who gets cache pages when they do not suffice for all. Inside the engine room.
//
// Sessions of a site that have work stand in an order: higher priority first, then whoever began its present
// work first (an answer, or the tokens that were appended). The foremost one always gets what it needs.
// Pages for it come from sessions behind it and from idle ones of no higher priority, last first; those keep
// their tokens and logits, and are evaluated again. Idle ones of higher priority go when otherwise nobody could be
// served. Nobody goes for one that would not fit alone.
//
// A session without pages comes in when nobody with work stands before it, or when its whole length and a bit
// more fits beside all that those before it hold and still have to evaluate. So nobody overtakes, whoever came
// in is let go only for one before it, and since everybody's work ends, everybody's turn comes.
#ifndef GREGALE_ENGINE_ADMISSION_H
#define GREGALE_ENGINE_ADMISSION_H

#include "engine/site.h"

// Whether `a` stands before `b`; both work.
bool gr_admission_before(const gr_session *a, const gr_session *b);
// The first in the order, of those behind `after` (NULL: of all) that `wanted` says yes to; NULL: nobody.
gr_session *gr_admission_next(const gr_site *site, const gr_session *after, bool (*wanted)(const gr_session *));

// Before a step: hands out tickets and decides who is in (session->admitted).
void gr_admission_open(gr_site *site);
// Reserves pages for at most `rows` positions: as many as fit without letting go of anybody, perhaps none. Other
// failures than a lack of memory are returned.
gr_status gr_admission_reserve(gr_session *session, uint32_t rows, uint32_t *out_rows, gr_error *error);
// OUT_OF_MEMORY when the limit is too low for all the session's tokens, were it alone.
gr_status gr_admission_check(const gr_session *session, gr_error *error);
// Lets go of somebody behind `session`, or else of the pages of its own anchors; as a last resort of an idle session
// of higher priority. Returns whether that freed any.
bool gr_admission_make_room(gr_site *site, const gr_session *session, bool last_resort);
// A device ran out of memory within a step: lets go of the last session and gives memory back. Returns whether
// to try again.
bool gr_admission_relieve(gr_site *site);

#endif
