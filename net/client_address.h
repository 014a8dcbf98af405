/*
 * client_address.h - where a request comes from: the peer's address, or what a trusted proxy says of it.
 */
#ifndef HOLDFAST_CLIENT_ADDRESS_H
#define HOLDFAST_CLIENT_ADDRESS_H

#include "holdfast/types.h"

#include <sys/socket.h>

/* IPv6; IPv4 as ::ffff:a.b.c.d. */
struct client_address {
    uint8_t byte[16];
};

#define PROXIES_MAX 64

struct proxies {
    uint32_t count;
    struct {
        struct client_address address;
        uint32_t bits; /* of the prefix: 1 to 128 */
    } ranges[PROXIES_MAX];
};

/* Addresses and ranges (192.0.2.7, 10.0.0.0/8, 2001:db8::/32) separated by commas or blanks; may be empty.
 * False: something else, or more than PROXIES_MAX. */
bool proxies_parse(const char *text, struct proxies *ret_proxies);
bool proxies_have(const struct proxies *proxies, const struct client_address *address);

/* Without a port. False: not an address. */
bool client_address_parse(struct bytes text, struct client_address *ret_address);
/* False: neither IPv4 nor IPv6. */
bool client_address_of(const struct sockaddr_storage *socket_address, struct client_address *ret_address);
bool client_address_is_loopback(const struct client_address *address);

/*
 * The client's address by Forwarded (RFC 7239) or, where that is empty, X-Forwarded-For, as a trusted proxy
 * sent them: the last address that is no proxy's own; where all are, the first. False: none of them says.
 */
bool client_address_forwarded(const struct proxies *proxies, struct bytes forwarded,
                              struct bytes x_forwarded_for, struct client_address *ret_address);

/* How many of the bytes are counted as one client: all of an IPv4 address, an IPv6 address without its
 * lower half, since whoever has one has that whole network. */
static inline size_t
client_address_counted(const struct client_address *address)
{
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    return memcmp(address->byte, mapped, sizeof mapped) == 0 ? 16 : 8;
}

#endif
