/* Private to cli/: signet device add --from. */
#ifndef CLI_DEVICE_MANY_H
#define CLI_DEVICE_MANY_H

#include "pki/pki.h"

struct device_many {
	const struct pki_order *order; /* .dir is set; .cn and .out are not looked at */
	const char *from, *result;     /* CSV files; result NULL: <from>.result.csv */
	char separator;
};
/* Lines that could not be done are told on standard error, and make this false with a sum in <err>; all others are done. */
bool device_many(const struct device_many *m, struct err *err);

#endif
