/* Private to cli/: what `POST /api/v1/backup` has made becomes an installation again. */
#ifndef CLI_RESTORE_H
#define CLI_RESTORE_H

#include "base/err.h"
#include "base/slice.h"

/* Is <backup> one of a whole installation, not of a store alone? */
bool restore_is_whole(const char *backup);
/* Make <dir>, which must be empty or missing, of <backup>, and say on standard output what is to be done yet. <key>: of an encrypted store, or empty.
 * Everything is checked first; on failure nothing is left. */
bool restore_whole(const char *backup, const char *dir, struct slice key, struct err *err);

#endif
