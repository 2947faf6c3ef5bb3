/* Directives of mosquitto that we know and do not do: the answer is another than to a slip of the
 * pen. */
#include "server/config.h"

#include <stdio.h>

#include "base/num.h"

#define PLUGIN_OPTIONS "not an option of dynamic security, the only plugin that there is; remove the line"
#define ENGINE "keys in engines are not supported; keyfile must be a PEM file. Remove the line"
#define RSMB "a directive of RSMB, which mosquitto does not do either; remove the line"

static const struct {
	const char *name, *why;
} refused[] = {
	{ "tls_engine", ENGINE },
	{ "tls_engine_kpass_sha1", ENGINE },
	{ "auth_plugin_deny_special_chars", CONFIG_PLUGINS_REFUSED },
	{ "ffdc_output", RSMB },
	{ "max_log_entries", RSMB },
	{ "trace_level", RSMB },
	{ "trace_output", RSMB },
};

const char *
option_unsupported(struct slice name)
{
	size_t i;

	/* plugin_opt_ANYTHING and auth_opt_ANYTHING, but for what we know */
	if (option_find(name) != NULL)
		return NULL;
	if (slice_starts(name, SL("plugin_opt_")) || slice_starts(name, SL("auth_opt_")))
		return PLUGIN_OPTIONS;
	for (i = 0; i < ARRAY_LEN(refused); i++)
		if (slice_eq(name, slice_str(refused[i].name)))
			return refused[i].why;
	return NULL;
}
