/* The ready-made policies, as they stand in policies/ of the source tree: a broker without files
 * has them too. */
#include "authz/authz.h"

#include "authz_builtin.h" /* made by tools/embed.py */

static const struct {
	const char *name;
	struct slice text;
} policies[] = {
	{ "springcore", { (const uint8_t *)springcore_policy, sizeof springcore_policy - 1 } },
	{ "dojot", { (const uint8_t *)dojot_policy, sizeof dojot_policy - 1 } },
};

struct slice
authz_policy_builtin(const char *name)
{
	for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
		if (strcmp(policies[i].name, name) == 0)
			return policies[i].text;
	}
	return (struct slice){ 0 };
}
