/* Directives of mosquitto that we know and do not do: the answer is another than to a slip of the
 * pen. */
#include "server/config.h"

#include <stdio.h>

#include "base/num.h"

#define PLUGINS "plugins of mosquitto cannot be loaded; see `policy`"
#define ENGINE "keys in engines are not supported; keyfile must be a PEM file. Remove the line"
#define RSMB "a directive of RSMB, which mosquitto does not do either; remove the line"

static const struct {
	const char *name, *why;
} refused[] = {
	{ "tls_engine", ENGINE },
	{ "tls_engine_kpass_sha1", ENGINE },
	{ "plugin", PLUGINS },
	{ "plugin_load", PLUGINS },
	{ "plugin_use", PLUGINS },
	{ "global_plugin", PLUGINS },
	{ "auth_plugin", PLUGINS },
	{ "auth_plugin_deny_special_chars", PLUGINS },
	{ "ffdc_output", RSMB },
	{ "max_log_entries", RSMB },
	{ "trace_level", RSMB },
	{ "trace_output", RSMB },
};

const char *
option_unsupported(struct slice name)
{
	size_t i;

	/* plugin_opt_ANYTHING and auth_opt_ANYTHING */
	if (slice_starts(name, SL("plugin_opt_")) || slice_starts(name, SL("auth_opt_")))
		return PLUGINS;
	for (i = 0; i < ARRAY_LEN(refused); i++)
		if (slice_eq(name, slice_str(refused[i].name)))
			return refused[i].why;
	return NULL;
}
