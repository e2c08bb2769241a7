/*
 * A libvixDiskLib whose disks are those of a simulated vCenter.
 *
 * It decides nothing: it checks what the real library checks before it asks
 * a host (a library that was not initialized, a NULL), and asks the disk port
 * of the simulator about everything else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handle.h"

struct connection {
	struct wire *wire;
};

static struct {
	bool ready;
	log_function *log, *warn;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
} library = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void say(log_function *f, const char *format, va_list args)
{
	if (f != NULL)
		f(format, args);
}

void warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(library.warn, format, args);
	va_end(args);
}

void note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(library.log, format, args);
	va_end(args);
}

/* idle is the thread that the real library leaves running: who forks after
 * InitEx loses it. */
static void *idle(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&library.lock);
	while (library.ready)
		pthread_cond_wait(&library.changed, &library.lock);
	pthread_mutex_unlock(&library.lock);
	return NULL;
}

EXPORT vix_error VixDiskLib_InitEx(uint32_t major, uint32_t minor, log_function *log, log_function *warning,
				   log_function *panic, const char *libdir, const char *config)
{
	(void)panic;
	if (major == 0 || major > 8 || libdir == NULL || library.ready)
		return VIX_E_INVALID_ARG;
	library.log = log;
	library.warn = warning;
	library.ready = true;
	if (pthread_create(&library.thread, NULL, idle, NULL) != 0) {
		library.ready = false;
		return VIX_E_OUT_OF_MEMORY;
	}
	note("VixDiskLib: stub of vappvault's tests, asked for version %u.%u", major, minor);
	if (config != NULL && access(config, R_OK) != 0)
		warn("VixDiskLib: Failed to load the configuration file %s", config);
	return VIX_OK;
}

EXPORT void VixDiskLib_Exit(void)
{
	pthread_mutex_lock(&library.lock);
	library.ready = false;
	pthread_cond_broadcast(&library.changed);
	pthread_mutex_unlock(&library.lock);
	pthread_join(library.thread, NULL);
}

EXPORT const char *VixDiskLib_ListTransportModes(void)
{
	return "file:san:hotadd:nbdssl:nbd";
}

EXPORT struct connect_params *VixDiskLib_AllocateConnectParams(void)
{
	return calloc(1, sizeof(struct connect_params));
}

EXPORT void VixDiskLib_FreeConnectParams(struct connect_params *p)
{
	free(p);
}

/* A text is a payload in the making: strings, each behind its length. */
struct text {
	unsigned char *bytes;
	uint32_t length;
};

static bool add(struct text *t, const char *s)
{
	uint32_t n = s != NULL ? (uint32_t)strlen(s) : 0;
	unsigned char *more = realloc(t->bytes, t->length + 4 + n);

	if (more == NULL)
		return false;
	t->bytes = more;
	memcpy(more + t->length, &n, 4);
	if (n > 0)
		memcpy(more + t->length + 4, s, n);
	t->length += 4 + n;
	return true;
}

static bool describe(struct text *t, const struct connect_params *p, char read_only, const char *snapshot, const char *transports)
{
	bool session = p->credentials == CRED_SESSION;
	char port[16];

	snprintf(port, sizeof port, "%u", p->port);
	return add(t, "vddk 1") && add(t, p->vm) && add(t, p->server) && add(t, port) && add(t, p->thumbprint) &&
	       add(t, session ? "session" : "password") && add(t, session ? p->by.session.user : p->by.password.user) &&
	       add(t, session ? p->by.session.cookie : p->by.password.password) && add(t, snapshot) && add(t, transports) &&
	       add(t, read_only ? "ro" : "rw");
}

EXPORT vix_error VixDiskLib_ConnectEx(const struct connect_params *p, char read_only, const char *snapshot, const char *transports,
				      struct connection **connection)
{
	struct text t = {0};
	struct call c = {.op = OP_CONNECT};
	struct connection *made;
	vix_error error;

	if (!library.ready)
		return VIX_E_DISK_NOINIT;
	if (p == NULL || connection == NULL)
		return VIX_E_INVALID_ARG;
	if (p->vm == NULL || p->server == NULL)
		return VIX_E_NOT_SUPPORTED; /* local disks */
	if (p->credentials != CRED_PASSWORD && p->credentials != CRED_SESSION)
		return VIX_E_INVALID_ARG;
	made = calloc(1, sizeof *made);
	if (made == NULL || !describe(&t, p, read_only, snapshot, transports)) {
		free(made);
		free(t.bytes);
		return VIX_E_OUT_OF_MEMORY;
	}
	made->wire = wire_open(p->server, p->nfc_port != 0 ? p->nfc_port : 902, &error);
	if (made->wire != NULL) {
		c.payload = t.bytes;
		c.length = t.length;
		error = wire_call(made->wire, &c);
		free(c.answer);
		if (error != VIX_OK)
			wire_close(made->wire);
	}
	free(t.bytes);
	if (error != VIX_OK) {
		free(made);
		return error;
	}
	*connection = made;
	return VIX_OK;
}

EXPORT vix_error VixDiskLib_Disconnect(struct connection *connection)
{
	struct call c = {.op = OP_DISCONNECT};

	if (connection == NULL)
		return VIX_E_INVALID_ARG;
	wire_call(connection->wire, &c);
	free(c.answer);
	wire_close(connection->wire);
	free(connection);
	return VIX_OK;
}

/* An opened disk, as the simulator answers OP_OPEN. */
struct opened {
	uint64_t capacity;
	uint32_t handle, adapter, links, logical_sector, physical_sector, zero;
	char transport[16], uuid[64];
};

static void fill(struct handle *h, const struct opened *o)
{
	h->id = o->handle;
	h->info.capacity = o->capacity;
	h->info.adapter = (int)o->adapter;
	h->info.links = (int)o->links;
	h->info.logical_sector = o->logical_sector;
	h->info.physical_sector = o->physical_sector;
	h->info.bios = (struct geometry){(uint32_t)(o->capacity / (255 * 63)), 255, 63};
	h->info.physical = h->info.bios;
	h->info.uuid = strndup(o->uuid, sizeof o->uuid);
	memcpy(h->transport, o->transport, sizeof h->transport);
	h->transport[sizeof h->transport - 1] = 0;
}

EXPORT vix_error VixDiskLib_Open(struct connection *connection, const char *path, uint32_t flags, struct handle **handle)
{
	struct call c = {.op = OP_OPEN, .sectors = flags};
	struct handle *h;
	vix_error error;

	if (connection == NULL || path == NULL || handle == NULL)
		return VIX_E_INVALID_ARG;
	c.payload = path;
	c.length = (uint32_t)strlen(path);
	error = wire_call(connection->wire, &c);
	if (error == VIX_OK && c.got != sizeof(struct opened))
		error = VIX_E_FAIL;
	h = error == VIX_OK ? calloc(1, sizeof *h) : NULL;
	if (error == VIX_OK && h == NULL)
		error = VIX_E_OUT_OF_MEMORY;
	if (error == VIX_OK) {
		struct opened o;

		memcpy(&o, c.answer, sizeof o);
		h->wire = connection->wire;
		fill(h, &o);
		note("VixDiskLib: opened %s over %s", path, h->transport);
		*handle = h;
	}
	free(c.answer);
	return error;
}

EXPORT const char *VixDiskLib_GetTransportMode(struct handle *h)
{
	return h->transport;
}

EXPORT vix_error VixDiskLib_Close(struct handle *h)
{
	struct call c = {.op = OP_CLOSE};
	vix_error error;

	if (h == NULL)
		return VIX_E_INVALID_ARG;
	c.handle = h->id;
	wire_wait(h->wire);
	error = wire_call(h->wire, &c);
	free(c.answer);
	free(h->info.uuid);
	free(h);
	return error;
}

EXPORT vix_error VixDiskLib_GetInfo(struct handle *h, struct info **info)
{
	if (h == NULL || info == NULL)
		return VIX_E_INVALID_ARG;
	*info = malloc(sizeof **info);
	if (*info == NULL)
		return VIX_E_OUT_OF_MEMORY;
	**info = h->info;
	(*info)->uuid = h->info.uuid != NULL ? strdup(h->info.uuid) : NULL;
	return VIX_OK;
}

EXPORT void VixDiskLib_FreeInfo(struct info *info)
{
	if (info != NULL)
		free(info->uuid);
	free(info);
}
