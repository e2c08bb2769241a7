/*
 * Calls the library as nbdkit's plugin never would, and reads a disk with all
 * the parallelism that it offers. Built with the sources of the library and
 * the sanitizers; prints what is wrong, and nothing else.
 *
 * direct HOST PORT THUMBPRINT USER PASSWORD VM FILE THREADS ROUNDS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/handle.h"

struct connection;

vix_error VixDiskLib_InitEx(uint32_t, uint32_t, log_function *, log_function *, log_function *, const char *, const char *);
void VixDiskLib_Exit(void);
struct connect_params *VixDiskLib_AllocateConnectParams(void);
void VixDiskLib_FreeConnectParams(struct connect_params *);
vix_error VixDiskLib_ConnectEx(const struct connect_params *, char, const char *, const char *, struct connection **);
vix_error VixDiskLib_Disconnect(struct connection *);
vix_error VixDiskLib_Open(struct connection *, const char *, uint32_t, struct handle **);
vix_error VixDiskLib_Close(struct handle *);
vix_error VixDiskLib_GetInfo(struct handle *, struct info **);
void VixDiskLib_FreeInfo(struct info *);
vix_error VixDiskLib_Read(struct handle *, uint64_t, uint64_t, unsigned char *);
vix_error VixDiskLib_Write(struct handle *, uint64_t, uint64_t, const unsigned char *);
vix_error VixDiskLib_ReadAsync(struct handle *, uint64_t, uint64_t, unsigned char *, completion *, void *);
vix_error VixDiskLib_Wait(struct handle *);
vix_error VixDiskLib_Flush(struct handle *);
vix_error VixDiskLib_QueryAllocatedBlocks(struct handle *, uint64_t, uint64_t, uint64_t, struct block_list **);
vix_error VixDiskLib_FreeBlockList(struct block_list *);

enum { STEP = 4096 }; /* sectors */

static void want(const char *what, vix_error got, vix_error wanted)
{
	if (got != wanted)
		printf("%s: got error %llu, want %llu\n", what, (unsigned long long)got, (unsigned long long)wanted);
}

static struct connect_params *params(char **arg)
{
	struct connect_params *p = VixDiskLib_AllocateConnectParams();

	p->server = arg[1];
	p->nfc_port = (uint32_t)atoi(arg[2]);
	p->thumbprint = arg[3];
	p->credentials = CRED_PASSWORD;
	p->by.password.user = arg[4];
	p->by.password.password = arg[5];
	p->vm = arg[6];
	return p;
}

static void refused(struct connect_params *p, struct connection *c, struct handle *h)
{
	unsigned char buffer[SECTOR];
	struct block_list *blocks;
	struct handle *other;
	char *vm = p->vm;

	want("a second InitEx", VixDiskLib_InitEx(6, 5, NULL, NULL, NULL, "/", NULL), VIX_E_INVALID_ARG);
	want("connect to nothing", VixDiskLib_ConnectEx(NULL, 1, NULL, NULL, &c), VIX_E_INVALID_ARG);
	p->vm = NULL;
	want("a local disk", VixDiskLib_ConnectEx(p, 1, NULL, NULL, &c), VIX_E_NOT_SUPPORTED);
	p->vm = vm;
	want("open without a path", VixDiskLib_Open(c, NULL, OPEN_READ_ONLY, &other), VIX_E_INVALID_ARG);
	want("write by a reader's connection", VixDiskLib_Open(c, "x", 0, &other), VIX_E_INVALID_ARG);
	want("read nothing", VixDiskLib_Read(h, 0, 0, buffer), VIX_E_INVALID_ARG);
	want("read into nothing", VixDiskLib_Read(h, 0, 1, NULL), VIX_E_INVALID_ARG);
	want("read behind the end", VixDiskLib_Read(h, h->info.capacity, 1, buffer), VIX_E_DISK_OUTOFRANGE);
	want("read around the world", VixDiskLib_Read(h, UINT64_MAX, 2, buffer), VIX_E_DISK_OUTOFRANGE);
	want("write what is read", VixDiskLib_Write(h, 0, 1, buffer), 11);
	want("half a chunk", VixDiskLib_QueryAllocatedBlocks(h, 0, 64, 64, &blocks), VIX_E_INVALID_ARG);
	want("a list for nobody", VixDiskLib_QueryAllocatedBlocks(h, 0, 128, 128, NULL), VIX_E_INVALID_ARG);
	want("close nothing", VixDiskLib_Close(NULL), VIX_E_INVALID_ARG);
}

static void done(void *data, vix_error result)
{
	__atomic_add_fetch((int *)data, result != VIX_OK, __ATOMIC_SEQ_CST);
}

/* all reads the whole disk, many calls at a time. */
static void all(struct handle *h, unsigned char *buffer)
{
	uint64_t capacity = h->info.capacity;
	int failed = 0;

	for (uint64_t at = 0; at < capacity; at += STEP) {
		uint64_t n = capacity - at < STEP ? capacity - at : STEP;
		vix_error error = VixDiskLib_ReadAsync(h, at, n, buffer + at % (16 * STEP) * SECTOR, done, &failed);

		if (error != VIX_ASYNC)
			want("ReadAsync", error, VIX_ASYNC);
		if (at / STEP % 16 == 15)
			VixDiskLib_Wait(h);
	}
	want("Wait", VixDiskLib_Wait(h), VIX_OK);
	if (failed > 0)
		printf("%d reads failed\n", failed);
}

static char **arguments;

static void *reader(void *unused)
{
	struct connect_params *p = params(arguments);
	unsigned char *buffer = malloc(16 * STEP * SECTOR);
	struct block_list *blocks = NULL;
	struct connection *c = NULL;
	struct handle *h = NULL;
	struct info *info = NULL;

	(void)unused;
	want("connect", VixDiskLib_ConnectEx(p, 1, NULL, "nbd", &c), VIX_OK);
	want("open", VixDiskLib_Open(c, arguments[7], OPEN_READ_ONLY, &h), VIX_OK);
	refused(p, c, h);
	want("info", VixDiskLib_GetInfo(h, &info), VIX_OK);
	VixDiskLib_FreeInfo(info);
	want("blocks", VixDiskLib_QueryAllocatedBlocks(h, 0, 128, 128, &blocks), VIX_OK);
	VixDiskLib_FreeBlockList(blocks);
	for (int i = atoi(arguments[9]); i > 0; i--)
		all(h, buffer);
	want("flush", VixDiskLib_Flush(h), VIX_OK);
	want("close", VixDiskLib_Close(h), VIX_OK);
	want("disconnect", VixDiskLib_Disconnect(c), VIX_OK);
	VixDiskLib_FreeConnectParams(p);
	free(buffer);
	return NULL;
}

int main(int count, char **arg)
{
	pthread_t threads[64];
	struct connection *c;
	int n;

	if (count != 10 || (n = atoi(arg[8])) > 64)
		return 2;
	arguments = arg;
	struct connect_params *p = params(arg);
	want("connect before InitEx", VixDiskLib_ConnectEx(p, 1, NULL, NULL, &c), VIX_E_DISK_NOINIT);
	VixDiskLib_FreeConnectParams(p);
	want("InitEx without a folder", VixDiskLib_InitEx(6, 5, NULL, NULL, NULL, NULL, NULL), VIX_E_INVALID_ARG);
	want("InitEx", VixDiskLib_InitEx(6, 5, NULL, NULL, NULL, "/", NULL), VIX_OK);
	for (int i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, reader, NULL);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	VixDiskLib_Exit();
	return 0;
}
