// SPDX-License-Identifier: Apache-2.0
// conformance.h: judging a backend plugin, for `gregale backend test`. One thread.
#ifndef GREGALE_CONFORMANCE_H
#define GREGALE_CONFORMANCE_H

// Judges the plugin argv[1] as the options behind it say, and prints what was found. Returns 0 when
// nothing failed, 1 when something did, 2 when the arguments make no sense or the plugin cannot be
// loaded.
int gr_conformance_main(int argc, char **argv);

#endif
