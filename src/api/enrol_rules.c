/* Rules for devices that come by themselves: kept as one JSON text among the registry's settings. */
#include "api/pending.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

enum { RULES_MAX = 64, PATTERN_MAX = 256 };
static const char setting[] = "enrolment-rules";

/* "*" stands for any number of bytes. */
static bool
fits(struct slice pattern, struct slice s)
{
	size_t p = 0, i = 0, star = SIZE_MAX, back = 0;

	while (i < s.n) {
		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			back = i;
		} else if (p < pattern.n && pattern.p[p] == s.p[i]) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++back;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

static struct slice
member(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	return json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v)) : (struct slice){ 0 };
}

/* What a rule does not speak of, it takes. */
static bool
fits_member(const json_t *rule, const char *name, struct slice s)
{
	struct slice pattern = member(rule, name);

	return pattern.n == 0 || fits(pattern, s);
}

/* NULL: out of memory, or the registry cannot be read. */
static json_t *
load(struct api *a, struct err *err)
{
	struct slice text;
	void *mem = NULL;
	json_t *rules;

	if (!registry_setting_get(a->registry, slice_str(setting), &text, &mem, err))
		return NULL;
	rules = text.n > 0 ? json_loadb((const char *)text.p, text.n, 0, NULL) : json_array();
	free(mem);
	if (rules == NULL)
		(void)err_set(err, ERR_MEMORY, "out of memory");
	return rules;
}

void
rules_judge(struct api *a, const struct newcomer *w, struct rule_verdict *ret)
{
	struct err err;
	json_t *rules = load(a, &err);
	const json_t *rule, *one;
	size_t i, k;

	*ret = (struct rule_verdict){ .state = REGISTRY_PENDING };
	if (rules == NULL)
		log_error("The rules for new devices cannot be read: %s.", err.text);
	json_array_foreach(rules, i, rule) {
		if (!fits_member(rule, "ca", w->ca) || !fits_member(rule, "cn", w->cn) || !fits_member(rule, "subject", w->subject))
			continue;
		ret->state = slice_eq(member(rule, "action"), SL("approve")) ? REGISTRY_ENABLED : REGISTRY_DISABLED;
		(void)text_copy(ret->rule, sizeof(ret->rule), member(rule, "name"));
		json_array_foreach(json_object_get(rule, "templates"), k, one)
			if (ret->n_templates < REGISTRY_TEMPLATES_MAX)
				ret->templates[ret->n_templates++] = json_integer_value(one);
		break;
	}
	json_decref(rules);
}

/* ---- operations ---- */

/* They have no row with a version: what they say is one. */
static int64_t
version_of(const json_t *rules)
{
	char *text = json_dumps(rules, JSON_COMPACT);
	uint8_t hash[EVP_MAX_MD_SIZE] = { 0 };
	int64_t n = 0;

	if (text != NULL)
		(void)EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL);
	for (unsigned i = 0; i < 7; i++)
		n = n << 8 | hash[i];
	free(text);
	return n;
}

void
rules_get(struct call *c)
{
	struct err err;
	json_t *rules = load(c->api, &err);
	int64_t version = version_of(rules);

	if (call_found(c, rules != NULL, &version, &err))
		call_json(c, 200, json_pack("{s:o}", "rules", rules));
}

/* False: answered. */
static bool
are_as_read(struct call *c)
{
	struct err err;
	json_t *rules = load(c->api, &err);
	int64_t version = version_of(rules);
	bool ok = call_found(c, rules != NULL, &version, &err) && call_if_match(c, version);

	json_decref(rules);
	return ok;
}

void
rules_put(struct call *c)
{
	char *text;
	struct err err;
	bool ok;

	if (!are_as_read(c))
		return;
	text = json_dumps(json_object_get(c->body, "rules"), JSON_COMPACT);
	if (text == NULL) {
		call_json(c, 503, NULL);
		return;
	}
	ok = registry_setting_set(c->api->registry, slice_str(setting), slice_str(text), &err);
	free(text);
	if (ok)
		rules_get(c);
	else
		call_error(c, &err);
}

static const char *const actions[] = { "approve", "refuse", NULL };
static const struct field template_row = { "template", FIELD_INT, 0, 1, INT64_MAX };
static const struct field rule_rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX, &rule_plain, .help = "For the audit log" },
	{ "ca", FIELD_TEXT, 0, 1, PATTERN_MAX, &rule_plain, .help = "Name of the CA, as in /api/v1/cas; * stands for anything, here and below" },
	{ "cn", FIELD_TEXT, 0, 1, PATTERN_MAX, &rule_plain, .help = "Common name in the certificate" },
	{ "subject", FIELD_TEXT, 0, 1, PATTERN_MAX, &rule_plain, .help = "Its whole subject, as \"CN=p1,O=Acme\"" },
	{ "action", FIELD_TEXT, FIELD_REQUIRED, .choices = actions },
	{ "templates", FIELD_LIST, 0, 0, REGISTRY_TEMPLATES_MAX, .of = &template_row, .help = "That an approved device gets" },
	{ 0 },
};
static const struct field rule_row = { "rule", FIELD_OBJECT, .of = rule_rows };
static const struct field rules_rows[] = {
	{ "rules", FIELD_LIST, FIELD_REQUIRED, 0, RULES_MAX, .of = &rule_row, .help = "The first that fits decides" },
	{ 0 },
};
const struct schema rules_schema = { "EnrolmentRules", rules_rows };
const char rules_example[] = "{\"rules\":[{\"name\":\"line 7\",\"ca\":\"factory-acme\",\"cn\":\"press-*\",\"action\":\"approve\"}]}";
