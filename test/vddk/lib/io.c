/*
 * Reading, writing and asking where data is.
 */
#include <stdlib.h>
#include <string.h>

#include "handle.h"

/* outside tells whether a range is none of the disk's. */
static bool outside(const struct handle *h, uint64_t start, uint64_t count)
{
	return start > h->info.capacity || count > h->info.capacity - start;
}

/* sizable tells what is wrong with a call for sectors. */
static vix_error sizable(const struct handle *h, uint64_t start, uint64_t count, const void *buffer)
{
	if (h == NULL || buffer == NULL || count == 0 || count > UINT32_MAX / SECTOR)
		return VIX_E_INVALID_ARG;
	return outside(h, start, count) ? VIX_E_DISK_OUTOFRANGE : VIX_OK;
}

static struct call reading(const struct handle *h, uint64_t start, uint64_t count, void *buffer)
{
	return (struct call){.op = OP_READ, .handle = h->id, .sector = start, .sectors = count, .into = buffer, .room = count * SECTOR};
}

static struct call writing(const struct handle *h, uint64_t start, uint64_t count, const void *buffer)
{
	return (struct call){.op = OP_WRITE, .handle = h->id, .sector = start, .sectors = count, .payload = buffer, .length = (uint32_t)(count * SECTOR)};
}

static vix_error wait_for(struct handle *h, struct call c)
{
	vix_error error = wire_call(h->wire, &c);

	free(c.answer);
	return error;
}

static vix_error start(struct handle *h, struct call c, completion *done, void *data)
{
	struct call *own = malloc(sizeof *own);
	vix_error error;

	if (own == NULL || done == NULL) {
		free(own);
		return VIX_E_OUT_OF_MEMORY;
	}
	*own = c;
	own->done = done;
	own->data = data;
	error = wire_start(h->wire, own);
	if (error != VIX_OK) {
		free(own);
		return error;
	}
	return VIX_ASYNC;
}

EXPORT vix_error VixDiskLib_Read(struct handle *h, uint64_t start, uint64_t count, unsigned char *buffer)
{
	vix_error error = sizable(h, start, count, buffer);

	return error != VIX_OK ? error : wait_for(h, reading(h, start, count, buffer));
}

EXPORT vix_error VixDiskLib_Write(struct handle *h, uint64_t start, uint64_t count, const unsigned char *buffer)
{
	vix_error error = sizable(h, start, count, buffer);

	return error != VIX_OK ? error : wait_for(h, writing(h, start, count, buffer));
}

EXPORT vix_error VixDiskLib_ReadAsync(struct handle *h, uint64_t at, uint64_t count, unsigned char *buffer, completion *done, void *data)
{
	vix_error error = sizable(h, at, count, buffer);

	return error != VIX_OK ? error : start(h, reading(h, at, count, buffer), done, data);
}

EXPORT vix_error VixDiskLib_WriteAsync(struct handle *h, uint64_t at, uint64_t count, const unsigned char *buffer, completion *done, void *data)
{
	vix_error error = sizable(h, at, count, buffer);

	return error != VIX_OK ? error : start(h, writing(h, at, count, buffer), done, data);
}

EXPORT vix_error VixDiskLib_Wait(struct handle *h)
{
	if (h == NULL)
		return VIX_E_INVALID_ARG;
	wire_wait(h->wire);
	return VIX_OK;
}

EXPORT vix_error VixDiskLib_Flush(struct handle *h)
{
	if (h == NULL)
		return VIX_E_INVALID_ARG;
	wire_wait(h->wire);
	return wait_for(h, (struct call){.op = OP_FLUSH, .handle = h->id});
}

/* list makes a block list of pairs of numbers. */
static struct block_list *list(const unsigned char *pairs, size_t count)
{
	struct block_list *l = malloc(sizeof *l + count * sizeof l->blocks[0]);

	if (l != NULL) {
		l->count = (uint32_t)count;
		memcpy(l->blocks, pairs, count * sizeof l->blocks[0]);
	}
	return l;
}

EXPORT vix_error VixDiskLib_QueryAllocatedBlocks(struct handle *h, uint64_t at, uint64_t count, uint64_t chunk, struct block_list **blocks)
{
	struct call c = {.op = OP_BLOCKS, .sector = at, .sectors = count, .payload = &chunk, .length = sizeof chunk};
	vix_error error;

	if (h == NULL || blocks == NULL)
		return VIX_E_INVALID_ARG;
	c.handle = h->id;
	error = wire_call(h->wire, &c);
	if (error == VIX_OK) {
		*blocks = list(c.answer, c.got / sizeof(struct block));
		if (*blocks == NULL)
			error = VIX_E_OUT_OF_MEMORY;
	}
	free(c.answer);
	return error;
}

EXPORT vix_error VixDiskLib_FreeBlockList(struct block_list *blocks)
{
	free(blocks);
	return VIX_OK;
}

EXPORT vix_error VixDiskLib_Create(void *connection, const char *path, const void *params, void *progress, void *data)
{
	(void)connection, (void)path, (void)params, (void)progress, (void)data;
	return VIX_E_NOT_SUPPORTED;
}
