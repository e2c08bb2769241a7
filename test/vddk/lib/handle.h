/* An open disk. */
#ifndef HANDLE_H
#define HANDLE_H

#include "abi.h"
#include "wire.h"

struct handle {
	struct wire *wire; /* of its connection */
	uint32_t id;	   /* by which the simulator knows it */
	struct info info;
	char transport[16];
};

#endif
