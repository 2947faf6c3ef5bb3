/* JSON that is only looked at, not taken apart: no memory, no copies. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/slice.h"

enum { JSON_NESTING_MAX = 256 };

/* Is <s> one JSON object (RFC 8259) in UTF-8, with blanks around it at most, nested no deeper than JSON_NESTING_MAX? Names that stand
 * twice are not looked for. Time: one pass. */
bool json_text_is_object(struct slice s);

#endif
