/*
 * Calls over one TCP connection to the simulator: any number of them at a
 * time, answered in any order by a thread that reads.
 */
#include "wire.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Both ends are little-endian machines with the same rules of alignment. */
struct request {
	uint32_t op, handle, length, zero;
	uint64_t tag, sector, sectors;
};

struct reply {
	uint64_t tag;
	uint32_t error, flags;
	uint64_t length;
};

/* Flags of a reply. */
enum { REPLY_WARN = 1, REPLY_DIE = 2, REPLY_LOG = 4 };

/* No answer is longer than a block list of as many blocks as there can be. */
#define MAX_ANSWER (16u * (MAX_CHUNKS + 1))

static bool receive(int fd, void *into, size_t n)
{
	char *p = into;

	while (n > 0) {
		ssize_t r = recv(fd, p, n, MSG_WAITALL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

static bool deliver(int fd, struct iovec *v, int n)
{
	while (n > 0) {
		struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)n};
		ssize_t sent = sendmsg(fd, &m, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return false;
		while (n > 0 && (size_t)sent >= v->iov_len) {
			sent -= (ssize_t)v->iov_len;
			v++, n--;
		}
		if (n > 0) {
			v->iov_base = (char *)v->iov_base + sent;
			v->iov_len -= (size_t)sent;
		}
	}
	return true;
}

/* take unlinks the call with a tag; lock is held. */
static struct call *take(struct wire *w, uint64_t tag)
{
	for (struct call **at = &w->waiting; *at; at = &(*at)->next) {
		struct call *c = *at;

		if (c->tag == tag) {
			*at = c->next;
			return c;
		}
	}
	return NULL;
}

/* finish hands a call back to whom it belongs. */
static void finish(struct wire *w, struct call *c)
{
	if (c->done == NULL) {
		pthread_mutex_lock(&w->lock);
		c->over = true;
		pthread_cond_broadcast(&w->changed);
		pthread_mutex_unlock(&w->lock);
		return;
	}
	c->done(c->data, c->error);
	free(c->answer);
	free(c);
	pthread_mutex_lock(&w->lock);
	w->pending--;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* body receives what follows the head of a reply. */
static bool body(struct wire *w, struct call *c, const struct reply *r)
{
	if (r->length > MAX_ANSWER && r->length != c->room)
		return false;
	if (r->error == VIX_OK && c->into != NULL) {
		c->got = r->length;
		return r->length == c->room && receive(w->fd, c->into, r->length);
	}
	c->answer = malloc(r->length + 1);
	if (c->answer == NULL || !receive(w->fd, c->answer, r->length))
		return false;
	c->answer[r->length] = 0;
	c->got = r->length;
	return true;
}

/* die is the end of a library that has run over its own feet. */
static void die(uint32_t number)
{
	struct sigaction plain = {.sa_handler = SIG_DFL};

	sigaction((int)number, &plain, NULL);
	raise((int)number);
	_exit(1);
}

static bool one_reply(struct wire *w)
{
	struct reply r;
	struct call *c;

	if (!receive(w->fd, &r, sizeof r))
		return false;
	if (r.flags & REPLY_DIE)
		die(r.error);
	pthread_mutex_lock(&w->lock);
	c = take(w, r.tag);
	pthread_mutex_unlock(&w->lock);
	if (c == NULL)
		return false;
	c->error = r.error;
	if (!body(w, c, &r)) {
		c->error = VIX_E_HOST_TCP_CONN_LOST;
		finish(w, c);
		return false;
	}
	if (r.flags & REPLY_WARN)
		warn("%s", c->answer);
	if (r.flags & REPLY_LOG)
		note("%s", c->answer);
	finish(w, c);
	return true;
}

static void *receiver(void *arg)
{
	struct wire *w = arg;

	while (one_reply(w))
		;
	shutdown(w->fd, SHUT_RDWR);
	pthread_mutex_lock(&w->lock);
	w->broken = true;
	pthread_mutex_unlock(&w->lock);
	/* Who is still sending fails now, and is done with its call. */
	pthread_mutex_lock(&w->sending);
	pthread_mutex_unlock(&w->sending);
	for (;;) {
		struct call *c;

		pthread_mutex_lock(&w->lock);
		c = w->waiting;
		if (c != NULL)
			w->waiting = c->next;
		pthread_mutex_unlock(&w->lock);
		if (c == NULL)
			return NULL;
		c->error = VIX_E_HOST_TCP_CONN_LOST;
		finish(w, c);
	}
}

static int dial(const char *host, uint32_t port, vix_error *error)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	char service[16];
	int fd = -1, on = 1;

	snprintf(service, sizeof service, "%u", port);
	*error = VIX_E_HOST_SERVER_NOT_FOUND;
	if (getaddrinfo(host, service, &hints, &list) != 0)
		return -1;
	for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(list);
	*error = VIX_E_HOST_NETWORK_CONN_REFUSED;
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

/* greeted takes the line with which a host's daemon greets. */
static bool greeted(int fd)
{
	char c = 0;

	for (int n = 0; n < 512 && c != '\n'; n++)
		if (!receive(fd, &c, 1))
			return false;
	return c == '\n';
}

struct wire *wire_open(const char *host, uint32_t port, vix_error *error)
{
	struct wire *w;
	int fd = dial(host, port, error);

	if (fd < 0)
		return NULL;
	if (!greeted(fd)) {
		*error = VIX_E_HOST_TCP_CONN_LOST;
		close(fd);
		return NULL;
	}
	*error = VIX_E_OUT_OF_MEMORY;
	w = calloc(1, sizeof *w);
	if (w != NULL) {
		w->fd = fd;
		pthread_mutex_init(&w->sending, NULL);
		pthread_mutex_init(&w->lock, NULL);
		pthread_cond_init(&w->changed, NULL);
		if (pthread_create(&w->receiver, NULL, receiver, w) == 0)
			return w;
		free(w);
	}
	close(fd);
	return NULL;
}

/* post sends a call and lets it wait for its answer. While it sends, the call
 * and what the caller gave with it stay: nobody hands the call back before. */
static vix_error post(struct wire *w, struct call *c)
{
	struct request r = {.op = c->op, .handle = c->handle, .length = c->length, .sector = c->sector, .sectors = c->sectors};
	struct iovec parts[2] = {{&r, sizeof r}, {(void *)c->payload, c->length}};
	int count = c->length > 0 ? 2 : 1;

	pthread_mutex_lock(&w->sending);
	pthread_mutex_lock(&w->lock);
	if (w->broken) {
		pthread_mutex_unlock(&w->lock);
		pthread_mutex_unlock(&w->sending);
		return VIX_E_HOST_TCP_CONN_LOST;
	}
	r.tag = c->tag = ++w->tags;
	c->next = w->waiting;
	w->waiting = c;
	if (c->done != NULL)
		w->pending++;
	pthread_mutex_unlock(&w->lock);

	if (!deliver(w->fd, parts, count))
		shutdown(w->fd, SHUT_RDWR); /* the receiver ends all that wait */
	pthread_mutex_unlock(&w->sending);
	return VIX_OK;
}

vix_error wire_call(struct wire *w, struct call *c)
{
	vix_error error;

	c->done = NULL;
	error = post(w, c);
	if (error != VIX_OK)
		return error;
	pthread_mutex_lock(&w->lock);
	while (!c->over)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
	return c->error;
}

vix_error wire_start(struct wire *w, struct call *c)
{
	return post(w, c);
}

void wire_wait(struct wire *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->pending > 0)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

void wire_close(struct wire *w)
{
	shutdown(w->fd, SHUT_RDWR);
	pthread_join(w->receiver, NULL);
	close(w->fd);
	pthread_mutex_destroy(&w->sending);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
	free(w);
}
