/*
 * client_address.c - addresses, ranges of proxies, and the headers in which proxies tell whom they speak
 * for.
 *
 *     Forwarded: for=192.0.2.60;proto=https, for="[2001:db8::17]:4711"       RFC 7239
 *     X-Forwarded-For: 192.0.2.60, 2001:db8::17
 *
 * Each proxy appends the address that it was asked from. So only what our own proxies have appended is
 * known; everything before it was written by somebody else, and is never looked at: the last address that
 * is not a proxy's own is the client.
 *
 * Pure; the caller has seen that the peer is a proxy.
 */
#include "net/client_address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define ADDRESS_TEXT_SIZE_MAX 64

bool
client_address_parse(struct bytes text, struct client_address *ret_address)
{
    char zero_ended[ADDRESS_TEXT_SIZE_MAX];
    struct in_addr v4;
    struct in6_addr v6;
    if (text.size == 0 || text.size >= sizeof zero_ended || memchr(text.data, 0, text.size) != NULL)
        return false;
    memcpy(zero_ended, text.data, text.size);
    zero_ended[text.size] = '\0';
    if (inet_pton(AF_INET, zero_ended, &v4) == 1) {
        *ret_address = (struct client_address){.byte = {[10] = 0xFF, [11] = 0xFF}};
        memcpy(ret_address->byte + 12, &v4, sizeof v4);
        return true;
    }
    if (inet_pton(AF_INET6, zero_ended, &v6) != 1)
        return false;
    memcpy(ret_address->byte, &v6, sizeof v6);
    return true;
}

bool
client_address_of(const struct sockaddr_storage *socket_address, struct client_address *ret_address)
{
    if (socket_address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)socket_address;
        *ret_address = (struct client_address){.byte = {[10] = 0xFF, [11] = 0xFF}};
        memcpy(ret_address->byte + 12, &v4->sin_addr, sizeof v4->sin_addr);
        return true;
    }
    if (socket_address->ss_family != AF_INET6)
        return false;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)socket_address;
    memcpy(ret_address->byte, &v6->sin6_addr, sizeof v6->sin6_addr);
    return true;
}

bool
client_address_is_loopback(const struct client_address *address)
{
    static const uint8_t v6[16] = {[15] = 1};
    static const uint8_t v4[13] = {[10] = 0xFF, [11] = 0xFF, [12] = 127};
    return memcmp(address->byte, v6, sizeof v6) == 0 || memcmp(address->byte, v4, sizeof v4) == 0;
}

/* ---- proxies ---- */

static bool
range_parse(struct bytes text, struct client_address *ret_address, uint32_t *ret_bits)
{
    const char *slash = memchr(text.data, '/', text.size);
    struct bytes address = {text.data, slash != NULL ? (uint32_t)(slash - text.data) : text.size};
    if (!client_address_parse(address, ret_address))
        return false;
    bool v4 = memchr(address.data, ':', address.size) == NULL;
    uint32_t bits = v4 ? 32 : 128;
    if (slash != NULL) {
        uint32_t given = 0;
        const char *at = slash + 1;
        const char *end = text.data + text.size;
        if (at == end || end - at > 3)
            return false;
        for (; at < end; at++) {
            if (*at < '0' || *at > '9')
                return false;
            given = given * 10 + (uint32_t)(*at - '0');
        }
        if (given == 0 ||
            given > bits) /* a proxy anywhere would mean that everyone names his own address */
            return false;
        bits = given;
    }
    *ret_bits = v4 ? 96 + bits : bits;
    return true;
}

bool
proxies_parse(const char *text, struct proxies *ret_proxies)
{
    struct proxies proxies = {0};
    while (*text != '\0') {
        size_t size = strcspn(text, ", \t");
        if (size > 0) {
            if (proxies.count == PROXIES_MAX ||
                !range_parse((struct bytes){text, (uint32_t)size}, &proxies.ranges[proxies.count].address,
                             &proxies.ranges[proxies.count].bits))
                return false;
            proxies.count++;
        }
        text += size;
        text += strspn(text, ", \t");
    }
    *ret_proxies = proxies;
    return true;
}

bool
proxies_have(const struct proxies *proxies, const struct client_address *address)
{
    for (uint32_t i = 0; i < proxies->count; i++) {
        const uint8_t *range = proxies->ranges[i].address.byte;
        uint32_t whole = proxies->ranges[i].bits / 8;
        uint32_t rest = proxies->ranges[i].bits % 8;
        if (memcmp(range, address->byte, whole) != 0)
            continue;
        if (rest == 0 || (range[whole] ^ address->byte[whole]) >> (8 - rest) == 0)
            return true;
    }
    return false;
}

/* ---- headers ---- */

static struct bytes
trim(struct bytes text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

/* The part before the next `separator` that is not within quotes; cut off from text with it. */
static struct bytes
part_take(struct bytes *text, char separator)
{
    bool quoted = false;
    uint32_t at = 0;
    for (; at < text->size; at++) {
        char c = text->data[at];
        if (c == '"')
            quoted = !quoted;
        else if (c == '\\' && quoted && at + 1 < text->size)
            at++;
        else if (c == separator && !quoted)
            break;
    }
    struct bytes part = {text->data, at};
    uint32_t taken = at + (at < text->size);
    *text = (struct bytes){text->data + taken, text->size - taken};
    return trim(part);
}

/* An address as the headers have it: in brackets or not, with a port or not. */
static bool
node_parse(struct bytes node, struct client_address *ret_address)
{
    if (node.size >= 2 && node.data[0] == '"' && node.data[node.size - 1] == '"')
        node = (struct bytes){node.data + 1, node.size - 2};
    if (node.size > 0 && node.data[0] == '[') {
        const char *bracket = memchr(node.data, ']', node.size);
        if (bracket == NULL)
            return false;
        return client_address_parse((struct bytes){node.data + 1, (uint32_t)(bracket - node.data - 1)},
                                    ret_address);
    }
    const char *colon = memchr(node.data, ':', node.size);
    if (colon != NULL && memchr(colon + 1, ':', (size_t)(node.data + node.size - colon - 1)) == NULL)
        node.size = (uint32_t)(colon - node.data);
    return client_address_parse(node, ret_address);
}

/* for=... of one element of Forwarded. */
static bool
element_parse(struct bytes element, struct client_address *ret_address)
{
    while (element.size > 0) {
        struct bytes pair = part_take(&element, ';');
        if (pair.size > 4 && strncasecmp(pair.data, "for=", 4) == 0)
            return node_parse((struct bytes){pair.data + 4, pair.size - 4}, ret_address);
    }
    return false;
}

bool
client_address_forwarded(const struct proxies *proxies, struct bytes forwarded,
                         struct bytes x_forwarded_for, struct client_address *ret_address)
{
    bool standard = forwarded.size > 0;
    struct bytes rest = standard ? forwarded : x_forwarded_for;
    struct client_address client = {0};
    bool known = false;   /* client is an address: else its element hides it, or there was none */
    bool foreign = false; /* and no proxy's */
    while (rest.size > 0) {
        struct bytes element = part_take(&rest, ',');
        if (element.size == 0)
            continue;
        struct client_address address;
        bool valid = standard ? element_parse(element, &address) : node_parse(element, &address);
        if (valid && proxies_have(proxies, &address)) {
            if (!known && !foreign) {
                client = address;
                known = true;
            }
            continue;
        }
        foreign = true;
        known = valid;
        if (valid)
            client = address;
    }
    if (known)
        *ret_address = client;
    return known;
}
