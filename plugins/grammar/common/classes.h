// SPDX-License-Identifier: Apache-2.0
// classes.h: the classes that regular expressions name. Inside plugins/grammar/common.
//
// Dialects disagree beyond ASCII (is U+0663 a digit? U+00E9 a letter?), and an answer should satisfy
// whoever checks it. So \d, \w, \s and their opposites each stand for what is certain: characters
// that are in the class both in ECMAScript and in Python.
#ifndef GREGALE_GRAMMAR_CLASSES_H
#define GREGALE_GRAMMAR_CLASSES_H

#include "plugins/grammar/common/build.h"

// Adds the characters that are certainly in `letter` (one of dDwWsS); with `perhaps`, all that are
// not certainly in its opposite. False when no class is called so.
bool gr_points_class(gr_grammar_builder *builder, gr_points *points, char letter, bool perhaps);
// What `.` matches.
void gr_points_dot(gr_grammar_builder *builder, gr_points *points);

#endif
