/* The ready-made policies, as they stand in policies/ of the source tree: a broker without files
 * has them too. */
#include "authz/internal.h"

#include "authz_builtin.h" /* made by tools/embed.py */

static const struct {
	const char *name;
	struct slice text;
} policies[] = {
	{ "springcore", { (const uint8_t *)springcore_policy, sizeof springcore_policy - 1 } },
	{ "dojot", { (const uint8_t *)dojot_policy, sizeof dojot_policy - 1 } },
};

const char *
authz_builtin_name(const char *name, struct slice *ret_text)
{
	for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
		if (strcmp(policies[i].name, name) == 0) {
			*ret_text = policies[i].text;
			return policies[i].name;
		}
	}
	return NULL;
}

struct slice
authz_policy_builtin(const char *name)
{
	struct slice text = { 0 };

	(void)authz_builtin_name(name, &text);
	return text;
}
