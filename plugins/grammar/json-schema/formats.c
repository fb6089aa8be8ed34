// SPDX-License-Identifier: Apache-2.0
// formats.c: what format names, as regular expressions. Where a standard allows more than a regular
// expression can say, or more than checkers agree on, these say less: what they match is right.
#include <string.h>

#include "plugins/grammar/json-schema/schema.h"

// RFC 3339. February 29 in leap years alone; no year 0, no leap seconds.
#define LEAP_PAIR "(?:0[48]|[2468][048]|[13579][26])"
#define YEAR "(?:[1-9]\\d{3}|0[1-9]\\d\\d|00[1-9]\\d|000[1-9])"
#define DATE                                                                                       \
    "(?:" YEAR "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|"  \
    "30)|02-(?:0[1-9]|1\\d|2[0-8]))|(?:\\d\\d" LEAP_PAIR "|" LEAP_PAIR "00)-02-29)"
#define CLOCK "(?:[01]\\d|2[0-3]):[0-5]\\d"
#define TIME CLOCK ":[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-]" CLOCK ")"
#define DURATION_TIME "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)"
#define DURATION                                                                                   \
    "P(?:\\d+W|(?:\\d+D|\\d+M(?:\\d+D)?|\\d+Y(?:\\d+M(?:\\d+D)?)?)(?:" DURATION_TIME ")?|"         \
    DURATION_TIME ")"
// At most 251 characters: RFC 1123 allows 253. The last label is no number, or it might be an address.
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,60}[A-Za-z0-9])?"
#define HOST "(?:" LABEL "\\.){0,3}[A-Za-z](?:[A-Za-z0-9-]{0,60}[A-Za-z0-9])?"
#define DOMAIN "(?:" LABEL "\\.){1,3}[A-Za-z](?:[A-Za-z0-9-]{0,60}[A-Za-z0-9])?"
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
#define EMAIL ATOM "{1,40}(?:\\." ATOM "{1,20})?@" DOMAIN // RFC 5321: at most 64 before the @
#define OCTET "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4 "(?:" OCTET "\\.){3}" OCTET
#define H16 "[0-9a-fA-F]{1,4}"
#define IPV6                                                                                       \
    "(?:" H16 ":){7}" H16 "|::(?:" H16 ":){0,6}" H16 "|::|(?:" H16 ":){1,7}:|(?:" H16 ":){6}:" H16 \
    "|(?:" H16 ":){5}(?::" H16 "){1,2}|(?:" H16 ":){4}(?::" H16 "){1,3}|(?:" H16 ":){3}(?::" H16   \
    "){1,4}|(?:" H16 ":){2}(?::" H16 "){1,5}|" H16 ":(?::" H16 "){1,6}"
#define UUID "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
// RFC 3986, with an authority; no user, no address in brackets.
#define PCHAR "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})"
#define URI                                                                                        \
    "[A-Za-z][A-Za-z0-9+.-]{0,20}://" HOST "(?::[1-9]\\d{0,3})?(?:/" PCHAR "*)*(?:\\?(?:" PCHAR    \
    "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?"
#define JSON_POINTER "(?:/(?:[^/~]|~[01])*)*"

static const struct {
    const char *name, *regex;
} formats[] = {{"date", DATE},
               {"time", TIME},
               {"date-time", DATE "T" TIME},
               {"duration", DURATION},
               {"email", EMAIL},
               {"idn-email", EMAIL},
               {"hostname", HOST},
               {"idn-hostname", HOST},
               {"ipv4", IPV4},
               {"ipv6", IPV6},
               {"uuid", UUID},
               {"uri", URI},
               {"uri-reference", URI},
               {"iri", URI},
               {"iri-reference", URI},
               {"json-pointer", JSON_POINTER}};

gr_expr gr_schema_format(gr_schemas *s, const char *name) {
    static const gr_regex_options options = {.spelling = GR_SPELL_JSON};
    gr_expr expr = GR_EXPR_NONE;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, name) == 0)
            gr_regex_build(s->builder, (gr_str){formats[i].regex, strlen(formats[i].regex)}, &options,
                           &expr, s->error);
    return expr;
}
