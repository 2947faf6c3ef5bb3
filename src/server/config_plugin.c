/* Plugins of mosquitto: its dynamic security is done by the broker itself, all others are refused. */
#include "server/config.h"

#include <stdlib.h>

#include "base/text.h"

static const char dynsec_name[] = "mosquitto_dynamic_security.so";
enum { SHOW_CAP = 120, PLUGINS_MAX = 64 };

static struct config_listener *
current_listener(const struct parse *p)
{
	return p->listener < 0 ? &p->c->fallback : &p->c->listeners[p->listener];
}

static bool
is_dynsec(struct slice path)
{
	size_t n = sizeof(dynsec_name) - 1;

	return path.n >= n && slice_eq(slice_from(path, path.n - n), slice_str(dynsec_name)) &&
	       (path.n == n || path.p[path.n - n - 1] == '/');
}

/* The plugin at <path> becomes the one that plugin_opt_… lines are about. */
static bool
add(struct parse *p, struct slice path, unsigned *ret)
{
	struct config *c = p->c;
	struct config_plugin *v;

	if (!is_dynsec(path))
		return parse_fail(p, ERR_USAGE, CONFIG_PLUGINS_REFUSED);
	if (c->n_plugins >= PLUGINS_MAX)
		return parse_fail(p, ERR_LIMIT, "more than %d plugins", PLUGINS_MAX);
	v = reallocarray(c->plugins, (size_t)c->n_plugins + 1, sizeof(*v));
	if (v == NULL)
		return parse_fail(p, ERR_MEMORY, "out of memory");
	c->plugins = v;
	v[c->n_plugins] = (struct config_plugin){ .place = p->here };
	c->n_plugins++;
	*ret = p->plugin = c->n_plugins;
	return true;
}

bool
read_plugin(struct parse *p, struct slice value)
{
	struct config_security *s = p->c->per_listener_settings ? &current_listener(p)->own : &p->c->common;

	if (s->plugin != 0)
		return parse_fail(p, ERR_USAGE, "there is a plugin already; remove one of the two");
	return add(p, value, &s->plugin);
}

bool
read_global_plugin(struct parse *p, struct slice value)
{
	if (p->c->global_plugin != 0)
		return parse_fail(p, ERR_USAGE, "there is a global_plugin already; remove one of the two");
	return add(p, value, &p->c->global_plugin);
}

static struct config_plugin *
find_named(const struct config *c, struct slice name)
{
	for (unsigned i = 0; i < c->n_plugins; i++)
		if (c->plugins[i].name != NULL && slice_eq(slice_str(c->plugins[i].name), name))
			return &c->plugins[i];
	return NULL;
}

bool
read_plugin_load(struct parse *p, struct slice value)
{
	struct slice name = parse_word(&value);
	unsigned index = 0;

	if (value.n == 0)
		return parse_fail(p, ERR_USAGE, "a value is missing: plugin_load NAME PATH");
	if (find_named(p->c, name) != NULL)
		return parse_fail(p, ERR_USAGE, "there is a plugin of this name already");
	return add(p, value, &index) && read_text(p, name, &p->c->plugins[index - 1].name);
}

bool
read_plugin_use(struct parse *p, struct slice value)
{
	struct config_listener *l = current_listener(p);
	const struct config_plugin *x = find_named(p->c, value);
	char show[SHOW_CAP];

	if (x == NULL)
		return parse_fail(p, ERR_USAGE, "there is no plugin_load line of the name \"%s\" above it",
		    text_show(value, show, sizeof(show)));
	if (l->plugin_use != 0)
		return parse_fail(p, ERR_USAGE, "this listener uses a plugin already");
	l->plugin_use = (unsigned)(x - p->c->plugins) + 1;
	return true;
}

static bool
read_file(struct parse *p, struct slice value, bool init)
{
	struct config_plugin *x = p->plugin > 0 ? &p->c->plugins[p->plugin - 1] : NULL;
	char **at;

	if (x == NULL)
		return parse_fail(p, ERR_USAGE, "belongs to a plugin: a line `plugin …/%s` must stand above it", dynsec_name);
	at = init ? &x->init_file : &x->file;
	if (*at != NULL)
		return parse_fail(p, ERR_USAGE, "is set already; remove one of the two lines");
	return read_text(p, value, at);
}

bool
read_plugin_file(struct parse *p, struct slice value)
{
	return read_file(p, value, false);
}

bool
read_plugin_init_file(struct parse *p, struct slice value)
{
	return read_file(p, value, true);
}

/* ---- what there is in the end ---- */

static bool
fail_at(const struct config *c, struct config_place at, struct err *err, const char *text)
{
	char where[CONFIG_PLACE_CAP];

	return err_set(err, ERR_USAGE, "%s: %s", config_place_text(c, at, where, sizeof(where)), text);
}

/* Who else would like to decide. */
static bool
check_alone(const struct config *c, const struct config_security *s, struct err *err)
{
	if (s->password_file != NULL)
		return fail_at(c, option_at(s->at, "password_file"), err,
		    "password_file: dynamic security has the passwords here; make its users clients there (mosquitto_ctrl dynsec createClient) "
		    "and remove this line");
	if (s->acl_file != NULL)
		return fail_at(c, option_at(s->at, "acl_file"), err,
		    "acl_file: dynamic security decides here; make roles of its rules (mosquitto_ctrl dynsec addRoleACL) and remove this line");
	if (s->policy != NULL)
		return fail_at(c, option_at(s->at, "policy"), err,
		    "policy: dynamic security decides here; remove this line or the plugin");
	return true;
}

static bool
settle(const struct config *c, struct config_listener *l, struct err *err)
{
	const unsigned which[] = { l->plugin_use, l->security->plugin, c->global_plugin };
	struct config_plugin *found = NULL;

	for (size_t i = 0; i < sizeof(which) / sizeof(which[0]); i++) {
		struct config_plugin *x = which[i] != 0 ? &c->plugins[which[i] - 1] : NULL;

		if (x == NULL)
			continue;
		x->used = true;
		if (found != NULL)
			return fail_at(c, x->place, err, "plugin: this would be a second one for a listener, and only one can decide; remove one of them");
		found = x;
	}
	l->dynsec = found;
	return found == NULL || check_alone(c, l->security, err);
}

bool
config_plugins_finish(struct config *c, struct err *err)
{
	for (unsigned i = 0; i < c->n_listeners; i++)
		if (!settle(c, &c->listeners[i], err))
			return false;
	for (unsigned i = 0; i < c->n_plugins; i++) {
		if (c->plugins[i].file == NULL)
			return fail_at(c, c->plugins[i].place, err,
			    "plugin: plugin_opt_config_file FILE is missing; make the file with `mosquitto_ctrl dynsec init FILE ADMIN`");
		if (!c->plugins[i].used)
			return fail_at(c, c->plugins[i].place, err,
			    "plugin: no listener uses it, so it would protect nothing; add `plugin_use` to the listeners, or remove it");
	}
	return true;
}

void
config_plugins_done(struct config *c)
{
	for (unsigned i = 0; i < c->n_plugins; i++) {
		free(c->plugins[i].name);
		free(c->plugins[i].file);
		free(c->plugins[i].init_file);
	}
	free(c->plugins);
}
