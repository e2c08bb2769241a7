/*
 * What nbdkit's vddk plugin expects of libvixDiskLib, release 8: types,
 * numbers and functions, declared from the plugin's side of the interface.
 * No header of VMware's was at hand.
 */
#ifndef ABI_H
#define ABI_H

#include <stdarg.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define SECTOR 512

/* Bounds of QueryAllocatedBlocks, in sectors and in chunks. */
#define MIN_CHUNK 128
#define MAX_CHUNKS (512 * 1024)

/* Numbers of errors that this library gives by itself. */
enum {
	VIX_OK = 0,
	VIX_E_FAIL = 1,
	VIX_E_OUT_OF_MEMORY = 2,
	VIX_E_INVALID_ARG = 3,
	VIX_E_NOT_SUPPORTED = 6,
	VIX_E_HOST_SERVER_NOT_FOUND = 14008,
	VIX_E_HOST_NETWORK_CONN_REFUSED = 14009,
	VIX_E_HOST_TCP_CONN_LOST = 14011,
	VIX_E_DISK_INVAL = 16000,
	VIX_E_DISK_NOINIT = 16001,
	VIX_E_DISK_OUTOFRANGE = 16007,
	VIX_ASYNC = 25000, /* no error: the callback will tell */
};

typedef uint64_t vix_error;

/* Ways to prove who one is. */
enum { CRED_PASSWORD = 1, CRED_SESSION = 2 };

/* Flags of Open. */
enum { OPEN_UNBUFFERED = 1, OPEN_SINGLE_LINK = 2, OPEN_READ_ONLY = 4 };

typedef void log_function(const char *format, va_list args);
typedef void completion(void *data, vix_error result);

struct connect_params {
	char *vm; /* moref=VM */
	char *server;
	char *thumbprint;
	long reserved1;
	int credentials; /* CRED_… */
	union {
		struct {
			char *user, *password;
		} password;
		struct {
			char *cookie, *user, *key;
		} session;
		void *reserved2;
	} by;
	uint32_t port, nfc_port;
	char *reserved3;
	char reserved4[8];
	void *reserved5;
	struct {
		char *id, *datastore, *snapshot;
	} object; /* of a first class disk */
	int kind; /* 0: a VM */
};

struct geometry {
	uint32_t cylinders, heads, sectors;
};

struct info {
	struct geometry bios, physical;
	uint64_t capacity; /* sectors */
	int adapter;	   /* 3: SCSI, LSI Logic */
	int links;
	char *parent_hint;
	char *uuid;
	uint32_t logical_sector, physical_sector; /* bytes */
};

struct block {
	uint64_t offset, length; /* sectors */
};

struct block_list {
	uint32_t count;
	struct block blocks[1];
};

#endif
