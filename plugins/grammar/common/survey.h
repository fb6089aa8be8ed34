// SPDX-License-Identifier: Apache-2.0
// survey.h: what can be said of a state once and spares work at every token. Inside
// plugins/grammar/common.
#ifndef GREGALE_GRAMMAR_SURVEY_H
#define GREGALE_GRAMMAR_SURVEY_H

#include "plugins/grammar/common/close.h"

// So many bytes of some kind of text, whichever they are, stay within the rule and lead to states that
// only move; none of these states takes more tokens (gr_close) to the end of the rule.
typedef struct gr_run {
    uint32_t farthest;
    uint8_t length; // UINT8_MAX: without end
} gr_run;

typedef struct gr_survey {
    uint32_t *farthest;           // [states]: the most tokens of it and of all states that bytes lead to
    gr_run *runs[GR_TEXT_KINDS];  // [states] each
} gr_survey;

// `automaton` is pruned. False without memory.
bool gr_survey_make(gr_survey *survey, const gr_automaton *automaton, const gr_close *close);
void gr_survey_deinit(gr_survey *survey);

#endif
