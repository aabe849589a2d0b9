/* The driver's counts for a program that knows nothing of them: put before its libraries, it says at the end what was counted. */

#include <stdio.h>

#include "driver.h"

static long clip(void) { return 0; }
Driver driver = { .clip = clip };

__attribute__((destructor)) static void say(void)
{
    fprintf(stderr, "driver: created %ld, destroyed %ld, decoded %ld, mapped %ld, unmapped %ld, wrong %ld, loaded %ld\n",
            driver.created, driver.destroyed, driver.decoded, driver.mapped, driver.unmapped, driver.wrong,
            driver.loaded);
}
