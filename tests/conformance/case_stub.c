#include "suite.h"
void cf_cases_table(cf_suite *s){(void)s;}
void cf_cases_memory(cf_suite *s){(void)s;}
void cf_cases_cache(cf_suite *s){(void)s;}
void cf_cases_programs(cf_suite *s){(void)s;}
void cf_cases_blocks(cf_suite *s){(void)s;}
void cf_cases_invariance(cf_suite *s){(void)s;}
