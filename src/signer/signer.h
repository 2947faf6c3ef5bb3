/* The process that alone holds the keys of the CAs, and how control asks it. */
#ifndef SIGNER_SIGNER_H
#define SIGNER_SIGNER_H

#include "signer/client.h"

#endif
