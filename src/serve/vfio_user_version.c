/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * VERSION: what both sides can do, as JSON.
 *
 * QEMU reads the reply into the buffer that its request was in: the reply must
 * be no longer, so it says as much as there is room for.  What it leaves out
 * has a default in the protocol, and we keep to those.
 */

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "serve/vfio_user_impl.h"

#define DEPTH	   16 /* of a client's JSON */
#define XFER_LEAST 64 /* less would be all headers */

/* A number of the client's capabilities, if it is there.  0 or -EINVAL. */
static int number_find(struct json_object *caps, const char *key,
		       uint32_t least, uint32_t *out)
{
	struct json_object *value;
	int64_t n;

	if (!json_object_object_get_ex(caps, key, &value))
		return 0;
	if (!json_object_is_type(value, json_type_int))
		return -EINVAL;
	n = json_object_get_int64(value);
	if (n < least)
		return -EINVAL;
	*out = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
	return 0;
}

static int peer_parse(struct vs_peer *peer, struct json_object *root)
{
	struct json_object *caps;
	uint32_t fds;
	int rc;

	if (!json_object_is_type(root, json_type_object))
		return -EINVAL;
	if (!json_object_object_get_ex(root, "capabilities", &caps))
		return 0;
	if (!json_object_is_type(caps, json_type_object))
		return -EINVAL;
	rc = number_find(caps, "max_msg_fds", 0, &fds);
	if (!rc)
		rc = number_find(caps, "max_data_xfer_size", XFER_LEAST,
				 &peer->max_xfer);
	if (!rc)
		rc = number_find(caps, "max_dma_maps", 0, &peer->max_maps);
	return rc;
}

/* @len bytes, the last of them NUL. */
static int json_parse(struct vs_peer *peer, const char *text, size_t len)
{
	struct json_tokener *tok = json_tokener_new_ex(DEPTH);
	struct json_object *root;
	int rc = -EINVAL;

	if (!tok)
		return -ENOMEM;
	/* strict: one value and nothing behind it */
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
	root = json_tokener_parse_ex(tok, text, (int)len);
	if (root && json_tokener_get_error(tok) == json_tokener_success)
		rc = peer_parse(peer, root);
	json_object_put(root);
	json_tokener_free(tok);
	return rc;
}

/* Into the reply, if it fits the room that the request had. */
static bool offer(struct vs_reply *r, size_t room, const char *text)
{
	size_t len = strlen(text) + 1;

	if (len > room)
		return false;
	memcpy(r->body + r->len, text, len);
	r->len += len;
	return true;
}

/* To QEMU no more than it says itself, whatever we take. */
static unsigned maps_offered(const struct vs_peer *peer)
{
	if (peer->max_maps < VU_DEFAULT_MAPS)
		return VU_DEFAULT_MAPS;
	return peer->max_maps < VU_MAX_MAPS ? peer->max_maps : VU_MAX_MAPS;
}

int vs_version(struct vs_peer *peer, const struct vs_msg *m, struct vs_reply *r)
{
	const char *text = (const char *)m->body + sizeof(struct vu_version);
	size_t len = m->len - sizeof(struct vu_version);
	struct vu_version v;
	char full[160];
	int rc;

	peer->max_xfer = VU_MAX_XFER; /* the protocol's defaults */
	peer->max_maps = VU_DEFAULT_MAPS;
	memcpy(&v, m->body, sizeof(v));
	if (v.major != VU_MAJOR)
		return -EINVAL;
	if (len && memchr(text, '\0', len) != text + len - 1)
		return -EINVAL;
	rc = len > 1 ? json_parse(peer, text, len) : 0;
	if (rc)
		return rc;

	if (v.minor > VU_MINOR)
		v.minor = VU_MINOR;
	memcpy(r->body, &v, sizeof(v));
	r->len = sizeof(v);
	snprintf(full, sizeof(full),
		 "{\"capabilities\":{\"max_msg_fds\":%u,"
		 "\"max_data_xfer_size\":%u,\"max_dma_maps\":%u,"
		 "\"pgsizes\":4096,\"write_multiple\":false}}",
		 VU_MAX_FDS, VU_MAX_XFER, maps_offered(peer));
	if (!offer(r, len, full)) {
		snprintf(full, sizeof(full),
			 "{\"capabilities\":{\"max_msg_fds\":%u}}", VU_MAX_FDS);
		if (!offer(r, len, full))
			(void)offer(r, len, "{}");
	}
	return 0;
}
