/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Stands between the real ipvsadm and a kernel without IPVS (LD_PRELOAD): what it asks is written to a file, what it is
 * answered is read from files. Folder: $LVX_KERNEL.
 *
 *   requests     the netlink messages that it sent, one behind the other
 *   N            the netlink messages that answer command number N (enum in linux/ip_vs.h)
 *   8-SERVICE    those that answer GET_DEST for a service: its address family, protocol, address and port, or family
 *                and mark, in hexadecimal
 *   connections  what it reads in /proc/net/ip_vs_conn */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct header { uint32_t len; uint16_t type, flags; uint32_t seq, pid; uint8_t command, version; uint16_t zero; };
struct attribute { uint16_t len, type; };
enum { GET_DEST = 8, SERVICE = 1, NEEDED_FOR_A_KEY = 5 };

struct header *nlmsg_hdr(void *msg);
void *nlmsg_convert(struct header *header);
void nlmsg_free(void *msg);

static int (*answered)(void *msg, void *arg);
static void *answered_arg;
static char answer[512];

static FILE *real_fopen(const char *path, const char *mode)
{
	FILE *(*next)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen");
	return next(path, mode);
}

static const char *in_folder(const char *name)
{
	static char path[1024];
	const char *folder = getenv("LVX_KERNEL");
	snprintf(path, sizeof path, "%s/%s", folder ? folder : ".", name);
	return path;
}

FILE *fopen(const char *path, const char *mode)
{
	return real_fopen(strcmp(path, "/proc/net/ip_vs_conn") ? path : in_folder("connections"), mode);
}

int genl_connect(void *sock) { return 0; }
int genl_ctrl_resolve(void *sock, const char *name) { return 77; }
int nl_socket_modify_err_cb(void *sock, int kind, void *function, void *arg) { return 0; }

int nl_socket_modify_cb(void *sock, int type, int kind, int (*function)(void *, void *), void *arg)
{
	answered = function;
	answered_arg = arg;
	return 0;
}

/* The key's part of the service that is asked about. */
static void name_service(char *name, size_t room, struct header *header)
{
	struct attribute *service = (void *)(header + 1);
	if (header->len <= sizeof *header || (service->type & 0x3fff) != SERVICE)
		return;
	size_t used = strlen(name);
	for (unsigned at = sizeof *service; at + sizeof *service <= service->len;) {
		struct attribute *inner = (void *)((char *)service + at);
		for (unsigned i = sizeof *inner; i < inner->len && inner->type <= NEEDED_FOR_A_KEY; i++)
			used += snprintf(name + used, room - used, "%02x", ((uint8_t *)inner)[i]);
		at += (inner->len + 3) & ~3u;
	}
}

int nl_send_auto_complete(void *sock, void *msg)
{
	struct header *header = nlmsg_hdr(msg);
	FILE *file = real_fopen(in_folder("requests"), "a");
	if (!file || fwrite(header, header->len, 1, file) != 1 || fclose(file))
		exit(99);
	snprintf(answer, sizeof answer, "%u", header->command);
	if (header->command == GET_DEST) {
		strcat(answer, "-");
		name_service(answer, sizeof answer, header);
	}
	return 0;
}

int nl_recvmsgs_default(void *sock)
{
	FILE *file = real_fopen(in_folder(answer), "r");
	struct header header;
	while (file && fread(&header, 4, 1, file) == 1) {
		struct header *whole = malloc(header.len);
		whole->len = header.len;
		if (fread((char *)whole + 4, header.len - 4, 1, file) != 1)
			exit(98);
		void *msg = nlmsg_convert(whole);
		answered(msg, answered_arg);
		nlmsg_free(msg);
		free(whole);
	}
	if (file)
		fclose(file);
	return 0;
}
