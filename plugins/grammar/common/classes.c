// SPDX-License-Identifier: Apache-2.0
#include "plugins/grammar/common/classes.h"

typedef uint32_t range[2];

static const range digit[] = {{'0', '9'}};
// No decimal digits lie in these blocks.
static const range not_digit[] = {{0, '0' - 1},      {'9' + 1, 0x65F},  {0x2000, 0x2FFF},
                                  {0x3000, 0xA61F}, {0xAC00, 0xD7FF}, {0x1F300, 0x1FAFF}};
static const range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const range not_word[] = {{0, '0' - 1},       {'9' + 1, 'A' - 1}, {'Z' + 1, '_' - 1},
                                 {'`', '`'},         {'z' + 1, 0x7F},    {0x2010, 0x2027},
                                 {0x2030, 0x205E},   {0x3001, 0x3003},   {0x3008, 0x3011},
                                 {0x1F300, 0x1FAFF}};
static const range space[] = {{'\t', '\r'}, {' ', ' '}};
static const range not_space[] = {{0, 8},           {0xE, 0x1B},       {'!', 0x84},
                                  {0x86, 0x9F},     {0xA1, 0x167F},    {0x1681, 0x1FFF},
                                  {0x200B, 0x2027}, {0x202A, 0x202E},  {0x2030, 0x205E},
                                  {0x2060, 0x2FFF}, {0x3001, 0xFEFE},  {0xFF00, 0x10FFFF}};

typedef struct named_class {
    char letter, opposite;
    const range *ranges;
    uint32_t count;
} named_class;

#define CLASS(letter, opposite, ranges) {letter, opposite, ranges, sizeof ranges / sizeof *ranges}
static const named_class classes[] = {CLASS('d', 'D', digit), CLASS('D', 'd', not_digit),
                                      CLASS('w', 'W', word),  CLASS('W', 'w', not_word),
                                      CLASS('s', 'S', space), CLASS('S', 's', not_space)};

static const named_class *find(char letter) {
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (classes[i].letter == letter)
            return &classes[i];
    return NULL;
}

static void add(gr_grammar_builder *builder, gr_points *points, const range *ranges,
                uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        gr_points_add(builder, points, ranges[i][0], ranges[i][1]);
}

bool gr_points_class(gr_grammar_builder *builder, gr_points *points, char letter, bool perhaps) {
    const named_class *class = find(letter);
    gr_points others = {0};
    if (!class)
        return false;
    if (!perhaps) {
        add(builder, points, class->ranges, class->count);
        return true;
    }
    class = find(class->opposite);
    add(builder, &others, class->ranges, class->count);
    gr_points_negate(builder, &others);
    add(builder, points, (const range *)others.ranges, others.count);
    gr_points_deinit(&others);
    return true;
}

void gr_points_dot(gr_grammar_builder *builder, gr_points *points) {
    gr_points_add(builder, points, '\n', '\n');
    gr_points_add(builder, points, '\r', '\r');
    gr_points_add(builder, points, 0x2028, 0x2029);
    gr_points_negate(builder, points);
}
