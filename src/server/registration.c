/* Which devices exist. Control states the whole truth after each start of either side, then each change: both by commands on its
 * socket (docs/control-protocol.md). Nothing is kept on disk: until the first snapshot devices are refused. */
#include "server/registration.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"
#include "server/control.h"
#include "server/regset.h"

enum { NAMES_MAX = CONTROL_NAMES_MAX };

struct registrations {
	struct server *server;
	pthread_mutex_t lock; /* of <set> and <generation>, for as long as it takes to take a reference */
	struct regset *set;   /* NULL: there was no snapshot since the start */
	int64_t generation;

	pthread_mutex_t writing; /* held by who carries out a command: the sets are his meanwhile, and the snapshot that comes in: */
	struct regset *next;
	int64_t next_generation;
	uint64_t next_devices;
	json_int_t next_chunk;
};

struct registrations *
registrations_new(struct server *s)
{
	struct registrations *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->server = s;
	if (pthread_mutex_init(&r->lock, NULL) != 0) {
		free(r);
		return NULL;
	}
	if (pthread_mutex_init(&r->writing, NULL) != 0) {
		(void)pthread_mutex_destroy(&r->lock);
		free(r);
		return NULL;
	}
	return r;
}

void
registrations_free(struct registrations *r)
{
	if (r == NULL)
		return;
	regset_unref(r->set);
	regset_unref(r->next);
	(void)pthread_mutex_destroy(&r->lock);
	(void)pthread_mutex_destroy(&r->writing);
	free(r);
}

/* A reference; NULL: no snapshot. */
static struct regset *
take_set(struct registrations *r, int64_t *ret_generation)
{
	struct regset *s;

	(void)pthread_mutex_lock(&r->lock);
	s = r->set != NULL ? regset_ref(r->set) : NULL;
	*ret_generation = r->generation;
	(void)pthread_mutex_unlock(&r->lock);
	return s;
}

/* <set> is taken over. */
static void
exchange(struct registrations *r, struct regset *set, int64_t generation)
{
	struct regset *old;

	(void)pthread_mutex_lock(&r->lock);
	old = r->set;
	r->set = set;
	r->generation = generation;
	(void)pthread_mutex_unlock(&r->lock);
	if (old != set)
		regset_unref(old);
}

void
registration_facts(struct registrations *r, struct registration_facts *ret)
{
	int64_t generation;
	struct regset *s = take_set(r, &generation);

	*ret = (struct registration_facts){ .known = s != NULL, .generation = generation };
	if (s != NULL) {
		ret->devices = regset_count(s);
		ret->bytes = regset_bytes(s);
	}
	regset_unref(s);
}

/* ---- judging ---- */

/* False: nobody has said. */
static bool
state_of(struct registrations *r, struct slice cn, enum regset_state *ret)
{
	int64_t generation;
	struct regset *s = take_set(r, &generation);

	if (s != NULL)
		*ret = regset_get(s, cn);
	regset_unref(s);
	return s != NULL;
}

static uint8_t
say(uint8_t reason, char why[static BROKER_WHY_MAX], const char *text)
{
	(void)snprintf(why, BROKER_WHY_MAX, "%s", text);
	return reason;
}

struct slice
registration_name(const struct authz_facts *f, char out[static REGISTRATION_NAME_CAP])
{
	out[0] = '/';
	(void)text_hex(slice_of(f->fingerprint, f->fingerprint != NULL ? 32 : 0), out + 1, REGISTRATION_NAME_CAP - 1);
	return slice_str(out);
}

uint8_t
registration_judge(struct registrations *r, const struct registration_question *q, char why[static BROKER_WHY_MAX], bool *ret_purge)
{
	bool unregistered = q->who->credential == CREDENTIAL_UNREGISTERED, quarantined = q->who->role == AUTHZ_ROLE_QUARANTINE;
	enum regset_state state = REGSET_NONE;

	*ret_purge = false;
	if ((q->rules & RULE_REGISTERED) == 0)
		return unregistered ? say(MQTT_RC_ADMINISTRATIVE, why, WHY_REGISTERED) : MQTT_RC_OK;
	if (q->role != AUTHZ_ROLE_CLIENT)
		return MQTT_RC_OK;
	if (!state_of(r, q->name, &state))
		return q->fresh ? say(MQTT_RC_UNAVAILABLE, why, WHY_NO_REGISTRY) : MQTT_RC_OK;
	switch (state) {
	case REGSET_ENABLED:
		return unregistered ? say(q->fresh ? MQTT_RC_NOT_AUTHORIZED : MQTT_RC_ADMINISTRATIVE, why, WHY_REGISTERED) : MQTT_RC_OK;
	case REGSET_DISABLED:
		return say(q->fresh ? MQTT_RC_NOT_AUTHORIZED : MQTT_RC_ADMINISTRATIVE, why, WHY_DISABLED);
	case REGSET_PENDING:
	case REGSET_NONE:
	case REGSET_GONE:
	case REGSET_STATES:
		break;
	}
	if (quarantined && (q->rules & RULE_QUARANTINE_UNREGISTERED) != 0)
		return MQTT_RC_OK;
	*ret_purge = state != REGSET_PENDING;
	return say(MQTT_RC_NOT_AUTHORIZED, why, state == REGSET_PENDING ? WHY_PENDING : WHY_NOT_REGISTERED);
}

bool
registration_wants_quarantine(struct registrations *r, unsigned rules, const struct authz_principal *cert, struct slice name)
{
	enum regset_state state = REGSET_NONE;

	if ((rules & RULE_REGISTERED) == 0 || (rules & RULE_QUARANTINE_UNREGISTERED) == 0 || authz_principal_role(cert) != AUTHZ_ROLE_CLIENT)
		return false;
	return state_of(r, name, &state) && state != REGSET_ENABLED && state != REGSET_DISABLED;
}

struct authz_principal *
registration_quarantined(const struct authz_principal *cert)
{
	struct authz_facts f;

	authz_principal_facts(cert, &f);
	f.role = AUTHZ_ROLE_QUARANTINE;
	f.credential = CREDENTIAL_UNREGISTERED;
	return authz_principal_new(&f);
}

/* ---- everybody again ---- */

struct walk {
	struct registrations *of;
	struct broker_request *request;
};

static enum broker_wish
judge_one(void *ctx, const struct broker_session *s, struct broker_word *ret)
{
	struct registrations *r = ((struct walk *)ctx)->of;
	bool purge;

	if (s->homeless || s->listener >= r->server->n_listeners || s->who == NULL)
		return BROKER_PASS;
	ret->reason = judge_registration(&r->server->judges[s->listener], atomic_load(&r->server->listeners[s->listener].rules), s->who, false,
	    ret->why, &purge);
	if (ret->reason == MQTT_RC_OK)
		return BROKER_PASS;
	return purge ? BROKER_PURGE : BROKER_WITHDRAW;
}

static json_t *
answer_now(struct registrations *r, uint64_t ended)
{
	struct registration_facts f;

	registration_facts(r, &f);
	return json_pack("{s:b,s:I,s:I,s:I}", "done", 1, "generation", (json_int_t)f.generation, "devices", (json_int_t)f.devices, "ended",
	    (json_int_t)ended);
}

static void
all_judged(void *ctx, const struct broker_visited *v)
{
	struct walk *w = ctx;

	control_answer(w->request, answer_now(w->of, v->n));
	free(w);
}

/* True: the answer follows when it is done. */
static bool
judge_all(struct registrations *r, struct broker_request *q, json_t **ret_out)
{
	struct walk *w = malloc(sizeof(*w));

	if (w != NULL) {
		*w = (struct walk){ r, q };
		if (broker_visit(r->server->broker, &(struct broker_visit){ .each = judge_one, .done = all_judged, .ctx = w }))
			return true;
	}
	free(w);
	/* It holds for who connects, and control, not knowing that, says it again. */
	*ret_out = control_error("memory", "out of memory: who is connected was not judged again; state it once more");
	return false;
}

/* ---- commands ---- */

static const struct {
	const char *key;
	enum regset_state state;
} lists[] = {
	{ "enabled", REGSET_ENABLED },
	{ "disabled", REGSET_DISABLED },
	{ "pending", REGSET_PENDING },
	{ "removed", REGSET_GONE },
};

static bool
generation_of(const json_t *in, const char *key, int64_t *ret)
{
	const json_t *v = json_object_get(in, key);

	/* A registry in which nothing was made yet is at 0. */
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*ret = (int64_t)json_integer_value(v);
	return true;
}

/* Why something is not done. */
struct complaint {
	const char *code, *text;
};

static const struct complaint no_lists = { "argument", "enabled, disabled, pending and removed are lists of names" },
			      no_name = { "argument", "a name is a string of 1 to 256 bytes" },
			      too_many_names = { "limit", "more names than names_max" },
			      too_many_devices = { "limit", "no memory for more devices, or more than 4000000 of them" },
			      no_numbers = { "argument", "a number is missing, is none, or is out of its range" },
			      not_begun = { "order", "no snapshot of this generation was begun, or another one since" },
			      chunk_missing = { "gap", "a chunk before this one is missing" },
			      wrong_count = { "count", "not as many devices as begin said: the snapshot is dropped" };

static bool
complain(const struct complaint *c, json_t **ret_out)
{
	*ret_out = control_error(c->code, c->text);
	return false;
}

/* NULL: fine. */
static const struct complaint *
check_names(const json_t *in, size_t n_lists)
{
	size_t n = 0;

	for (size_t k = 0; k < n_lists; k++) {
		const json_t *list = json_object_get(in, lists[k].key), *v;
		size_t i;

		if (list != NULL && !json_is_array(list))
			return &no_lists;
		json_array_foreach(list, i, v)
			if (!json_is_string(v) || json_string_length(v) < 1 || json_string_length(v) > CONTROL_NAME_MAX)
				return &no_name;
		n += json_array_size(list);
	}
	return n > NAMES_MAX ? &too_many_names : NULL;
}

/* False: no room. */
static bool
put_names(struct regset *s, const json_t *in, size_t n_lists)
{
	for (size_t k = 0; k < n_lists; k++) {
		const json_t *list = json_object_get(in, lists[k].key), *v;
		size_t i;

		json_array_foreach(list, i, v)
			if (!regset_put(s, slice_of(json_string_value(v), json_string_length(v)), lists[k].state))
				return false;
	}
	return true;
}

static void
drop_next(struct registrations *r)
{
	regset_unref(r->next);
	r->next = NULL;
	r->next_generation = 0;
}

/* NULL: done. */
static const struct complaint *
begin(struct registrations *r, const json_t *in)
{
	const json_t *devices = json_object_get(in, "devices");
	int64_t generation;

	if (!generation_of(in, "generation", &generation) || !json_is_integer(devices) || json_integer_value(devices) < 0)
		return &no_numbers;
	if (json_integer_value(devices) > REGSET_MAX)
		return &too_many_devices;
	drop_next(r);
	r->next = regset_new((size_t)json_integer_value(devices));
	if (r->next == NULL)
		return &too_many_devices;
	r->next_generation = generation;
	r->next_devices = (uint64_t)json_integer_value(devices);
	r->next_chunk = 0;
	return NULL;
}

static const struct complaint *
chunk(struct registrations *r, const json_t *in)
{
	const json_t *index = json_object_get(in, "index");
	const struct complaint *bad;
	int64_t generation;

	if (!generation_of(in, "generation", &generation) || !json_is_integer(index) || json_integer_value(index) < 0)
		return &no_numbers;
	if ((bad = check_names(in, ARRAY_LEN(lists) - 1)) != NULL)
		return bad;
	if (r->next == NULL || r->next_generation != generation)
		return &not_begun;
	if (json_integer_value(index) > r->next_chunk)
		return &chunk_missing;
	if (json_integer_value(index) < r->next_chunk)
		return NULL;
	if (!put_names(r->next, in, ARRAY_LEN(lists) - 1)) {
		drop_next(r);
		return &wrong_count;
	}
	r->next_chunk++;
	return NULL;
}

static bool
answer_done(const struct complaint *c, json_t **ret_out)
{
	if (c != NULL)
		return complain(c, ret_out);
	*ret_out = json_pack("{s:b}", "done", 1);
	return false;
}

/* True: an answer follows. */
static bool
commit(struct registrations *r, struct broker_request *q, const json_t *in, json_t **ret_out)
{
	struct registration_facts now;
	struct regset *set;
	int64_t generation;

	registration_facts(r, &now);
	if (!generation_of(in, "generation", &generation))
		return complain(&no_numbers, ret_out);
	if (r->next == NULL || r->next_generation != generation) {
		if (!now.known || now.generation != generation)
			return complain(&not_begun, ret_out);
		*ret_out = answer_now(r, 0);
		return false;
	}
	if (regset_count(r->next) != r->next_devices) {
		drop_next(r);
		return complain(&wrong_count, ret_out);
	}
	set = r->next;
	r->next = NULL;
	exchange(r, set, generation);
	if (!now.known)
		log_notice("Registry: the first snapshot is here, generation %" PRId64 " with %zu devices.", generation, regset_count(set));
	else
		log_info("Registry: a snapshot, generation %" PRId64 " with %zu devices.", generation, regset_count(set));
	return judge_all(r, q, ret_out);
}

static bool
gap(const struct registration_facts *now, json_t **ret_out)
{
	*ret_out = control_error("gap", "changes are missing between the generation in force and this one: state the whole truth");
	(void)json_object_set_new(*ret_out, "generation", now->known ? json_integer((json_int_t)now->generation) : json_null());
	return false;
}

/* So that all of a change finds room, or none of it is made. */
static bool
make_room(struct registrations *r, int64_t generation)
{
	struct regset *bigger;

	if (regset_has_room(r->set, NAMES_MAX))
		return true;
	bigger = regset_grown(r->set);
	if (bigger == NULL || !regset_has_room(bigger, NAMES_MAX)) {
		regset_unref(bigger);
		return false;
	}
	exchange(r, bigger, generation);
	return true;
}

static bool
change(struct registrations *r, struct broker_request *q, const json_t *in, json_t **ret_out)
{
	const struct complaint *bad = check_names(in, ARRAY_LEN(lists));
	struct registration_facts now;
	int64_t from = 0, to = 0;

	registration_facts(r, &now);
	if (!generation_of(in, "from", &from) || !generation_of(in, "to", &to) || to <= from)
		return complain(&no_numbers, ret_out);
	if (bad != NULL)
		return complain(bad, ret_out);
	if (!now.known || (from != now.generation && to > now.generation))
		return gap(&now, ret_out);
	if (to <= now.generation) {
		*ret_out = answer_now(r, 0);
		return false;
	}
	if (!make_room(r, from))
		return complain(&too_many_devices, ret_out);
	(void)put_names(r->set, in, ARRAY_LEN(lists));
	exchange(r, r->set, to);
	return judge_all(r, q, ret_out);
}

bool
control_registry(struct server *s, struct broker_request *q, const json_t *in, json_t **ret_out)
{
	struct registrations *r = s->registrations;
	struct slice name = slice_from(q->topic, sizeof(CONTROL_TOPIC "registry/") - 1);
	bool later = false;

	(void)pthread_mutex_lock(&r->writing);
	if (slice_eq(name, SL("begin")))
		later = answer_done(begin(r, in), ret_out);
	else if (slice_eq(name, SL("chunk")))
		later = answer_done(chunk(r, in), ret_out);
	else if (slice_eq(name, SL("commit")))
		later = commit(r, q, in, ret_out);
	else
		later = change(r, q, in, ret_out);
	(void)pthread_mutex_unlock(&r->writing);
	return later;
}
