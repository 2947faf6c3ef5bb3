/* A password's hash costs a tenth of a second. */
#include "api/internal.h"

#include <stdlib.h>

#include "base/secret.h"
#include "passwd/passwd.h"

struct hash_job *
hash_job_new(struct slice hash, struct slice password)
{
	struct hash_job *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return NULL;
	j->hash = calloc(1, PASSWD_HASH_TEXT_MAX);
	j->password = malloc(password.n + 1);
	if (j->hash == NULL || j->password == NULL || hash.n >= PASSWD_HASH_TEXT_MAX) {
		hash_job_free(j);
		return NULL;
	}
	if (hash.n > 0)
		memcpy(j->hash, hash.p, hash.n);
	if (password.n > 0)
		memcpy(j->password, password.p, password.n);
	j->password_n = password.n;
	return j;
}

void
hash_job_free(struct hash_job *j)
{
	if (j == NULL)
		return;
	secret_free(j->password, j->password != NULL ? j->password_n : 0);
	secret_free(j->hash, j->hash != NULL ? PASSWD_HASH_TEXT_MAX : 0);
	free(j);
}

static void
compute(struct job *job)
{
	struct hash_job *j = (void *)job;
	struct slice password = slice_of(j->password, j->password_n);

	if (j->hash[0] != '\0')
		j->right = passwd_check_hash(slice_str(j->hash), password) == PASSWD_RIGHT;
	else
		j->right = passwd_hash(PASSWD_ARGON2ID, 0, password, j->hash, NULL);
}

static void
done(struct job *job)
{
	struct hash_job *j = (void *)job;

	j->done(j->ctx, j);
}

static void
drop(struct job *job)
{
	hash_job_free((void *)job);
}

bool
hasher_add(struct worker *w, struct hash_job *j)
{
	j->job = (struct job){ .work = compute, .done = done, .drop = drop };
	return worker_add(w, &j->job);
}
