// SPDX-License-Identifier: Apache-2.0
// samplers.c: `--sampler help`: every stage, its parameters, their defaults and ranges, as the stages state them.
#include "cli/cli.h"
#include "gregale/linked/sampler.h"

static void print_param(const gr_sampler_param_spec *param) {
    if (param->is_text)
        printf("    %-14s text: %s\n", param->name, param->help);
    else
        printf("    %-14s %g (%g to %g): %s\n", param->name, param->initial, param->minimum, param->maximum, param->help);
}

void gr_print_samplers(void) {
    puts("A chain is stages in the order they apply: 'penalties(repeat=1.1,last_n=64);top-k(40);temperature(0.8)'.\n"
         "A value without a name is the first parameter; what is left out has its default. Text that holds any\n"
         "of ,;()= stands in double quotes. From what the last stage leaves a token is drawn.\n");
    for (const gr_sampler_type *const *type = gr_sampler_types(); *type; type++) {
        printf("%s\n    %s\n", (*type)->name, (*type)->help);
        for (const gr_sampler_param_spec *param = (*type)->params; param && param->name; param++)
            print_param(param);
    }
}
