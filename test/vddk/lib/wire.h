/*
 * The protocol of the simulator's disk port; README.md has it in words.
 */
#ifndef WIRE_H
#define WIRE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"

enum { OP_CONNECT = 1, OP_OPEN, OP_READ, OP_WRITE, OP_FLUSH, OP_BLOCKS, OP_CLOSE, OP_DISCONNECT };

/* What a call to the simulator carries and brings back. */
struct call {
	uint32_t op, handle;
	uint64_t sector, sectors;
	const void *payload;
	uint32_t length; /* of payload */

	void *into; /* where the answer's bytes go; NULL: into answer */
	size_t room;

	vix_error error;
	unsigned char *answer; /* malloc'ed; the caller frees it */
	size_t got;	       /* bytes in into or answer */

	completion *done; /* NULL: somebody waits */
	void *data;

	bool over;
	uint64_t tag;
	struct call *next;
};

struct wire {
	int fd;
	uint64_t tags;
	pthread_mutex_t sending;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	struct call *waiting; /* for their answers */
	size_t pending;	      /* of them, those with a callback */
	bool broken;
	pthread_t receiver;
};

/* wire_open connects to the port; NULL with *error set. */
struct wire *wire_open(const char *host, uint32_t port, vix_error *error);

/* wire_call makes a call and waits for its answer. */
vix_error wire_call(struct wire *w, struct call *c);

/*
 * wire_start sends a call whose callback will be called by another thread.
 * The call is freed then. An error means that it will not be.
 */
vix_error wire_start(struct wire *w, struct call *c);

/* wire_wait waits until no callback is due. */
void wire_wait(struct wire *w);

void wire_close(struct wire *w);

/* note passes a line on to the program's log function. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* warn passes a line on to the program's warning function. */
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
