/* The file and the commands: whatever comes, what is kept can be read again and says the same. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/secret.h"
#include "dynsec/dynsec.h"

static void
say(void *ctx, const char *line)
{
	(void)ctx;
	ASSERT(strchr(line, '\n') == NULL);
}

static bool
save(void *ctx, struct slice text)
{
	struct dynsec *d = dynsec_parse(text, "kept", NULL);
	size_t n = 0;
	char *again;

	ASSERT(d != NULL);
	again = dynsec_dump(d, &n);
	ASSERT(again != NULL && slice_eq(text, slice_of(again, n)));
	secret_free(again, n);
	dynsec_free(d);
	return *(bool *)ctx;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A file, a line feed, and commands for it; or either alone. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice rest = slice_of(data, n), file;
	struct dynsec_outcome out;
	bool more, keeps = n % 8 != 0;
	struct dynsec_admin admin = { .client_id = SL("c"), .username = SL("u"), .say = say, .save = save, .ctx = &keeps };
	struct dynsec *d;
	struct authz_policy *p;

	file = slice_cut(&rest, '\n', &more);
	d = dynsec_parse(file, "fuzz", NULL);
	if (d == NULL)
		d = dynsec_parse(SL("{}"), "empty", NULL);
	ASSERT(d != NULL);
	if (dynsec_execute(d, more ? rest : file, &admin, &out)) {
		ASSERT(out.response != NULL && strlen(out.response) == out.response_n);
		dynsec_outcome_done(&out);
	}
	p = dynsec_policy(d);
	authz_policy_unref(p);
	dynsec_logins_unref(dynsec_logins_new(d));
	dynsec_free(d);
	return 0;
}
