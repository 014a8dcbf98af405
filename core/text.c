/*
 * text.c - bytes and texts that are written and read everywhere: numbers, UUIDs, times, UTF-8.
 *
 * Times are proleptic Gregorian days since 1970, by the arithmetic of Howard Hinnant's "chrono-compatible
 * low-level date algorithms": years begin in March, so the leap day is a year's last, and 400 years are
 * always 146,097 days.
 */
#include "core/text.h"

#include <assert.h>

void
output_put(struct output *output, const char *data, size_t size)
{
    while (size > 0) {
        size_t slice = size < OUTPUT_GROW_MAX ? size : OUTPUT_GROW_MAX;
        char *at = output_reserve(output, slice);
        if (at == NULL)
            return;
        output_commit(output, put_bytes(at, data, slice));
        data += slice;
        size -= slice;
    }
}

static const char digit_pairs[] = "00010203040506070809"
                                  "10111213141516171819"
                                  "20212223242526272829"
                                  "30313233343536373839"
                                  "40414243444546474849"
                                  "50515253545556575859"
                                  "60616263646566676869"
                                  "70717273747576777879"
                                  "80818283848586878889"
                                  "90919293949596979899";

char *
put_unsigned(char *at, uint64_t value)
{
    char text[20];
    char *first = text + sizeof text;
    while (value >= 100) {
        first -= 2;
        memcpy(first, &digit_pairs[2 * (value % 100)], 2);
        value /= 100;
    }
    if (value >= 10) {
        first -= 2;
        memcpy(first, &digit_pairs[2 * value], 2);
    } else {
        *--first = (char)('0' + value);
    }
    return put_bytes(at, first, (size_t)(text + sizeof text - first));
}

char *
put_hex(char *at, const uint8_t *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        *at++ = digits[data[i] >> 4];
        *at++ = digits[data[i] & 15];
    }
    return at;
}

/*
 * Eight hexadecimal digits at a time: a byte of a word each, the first one the highest. Many bytes in one
 * word without branches: H. S. Warren, Hacker's Delight, 2-18.
 */
#define EACH_BYTE(value) (0x0101010101010101u * (value))

static uint64_t
digits_of(uint32_t value)
{
    uint64_t digits = value; /* one nibble becomes one byte */
    digits = (digits | digits << 16) & 0x0000ffff0000ffffu;
    digits = (digits | digits << 8) & 0x00ff00ff00ff00ffu;
    digits = (digits | digits << 4) & EACH_BYTE(0x0f);
    uint64_t letters = (digits + EACH_BYTE(6)) >> 4 & EACH_BYTE(1);
    return digits + EACH_BYTE('0') + letters * ('a' - '0' - 10);
}

/* Of what are no digits: any value. */
static uint32_t
value_of(uint64_t digits)
{
    uint64_t value = (digits + (digits >> 6 & EACH_BYTE(1)) * 9) & EACH_BYTE(0x0f);
    value = (value | value >> 4) & 0x00ff00ff00ff00ffu;
    value = (value | value >> 8) & 0x0000ffff0000ffffu;
    return (uint32_t)(value | value >> 16);
}

/* The text's groups of 8, 4, 4, 4 and 12 digits as four words: the dashes stand where they do not meet. */
char *
put_uuid(char *at, const struct uuid *uuid)
{
    uint64_t digits[4];
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t value;
        memcpy(&value, uuid->byte + 4 * i, 4);
        digits[i] = __builtin_bswap64(digits_of(__builtin_bswap32(value)));
    }
    memcpy(at, &digits[0], 8);
    memcpy(at + 9, &digits[1], 4);
    memcpy(at + 14, (const char *)&digits[1] + 4, 4);
    memcpy(at + 19, &digits[2], 4);
    memcpy(at + 24, (const char *)&digits[2] + 4, 4);
    memcpy(at + 28, &digits[3], 8);
    at[8] = at[13] = at[18] = at[23] = '-';
    return at + UUID_TEXT_SIZE;
}

static char *
put_two(char *at, uint32_t value)
{
    assert(value < 100);
    return put_bytes(at, &digit_pairs[2 * value], 2);
}

struct civil_time {
    uint32_t year;
    uint32_t month;   /* from 1 */
    uint32_t day;     /* from 1 */
    uint32_t weekday; /* from Sunday, 0 */
    uint32_t second;  /* of the day */
};

static struct civil_time
civil_from_ms(uint64_t ms)
{
    uint64_t seconds = ms / 1000;
    uint64_t days = seconds / 86400;
    uint64_t shifted = days + 719468; /* since 0000-03-01 */
    uint64_t era = shifted / 146097;
    uint64_t day_of_era = shifted % 146097;
    uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month_from_march = (5 * day_of_year + 2) / 153;
    uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    return (struct civil_time){
        .year = (uint32_t)(year_of_era + era * 400 + (month <= 2)),
        .month = (uint32_t)month,
        .day = (uint32_t)(day_of_year - (153 * month_from_march + 2) / 5 + 1),
        .weekday = (uint32_t)((days + 4) % 7),
        .second = (uint32_t)(seconds % 86400),
    };
}

static int64_t
days_from_civil(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400; /* years are 0 to 9999: never negative but for January of year 0 */
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static char *
put_clock(char *at, uint32_t second)
{
    at = put_two(at, second / 3600);
    *at++ = ':';
    at = put_two(at, second / 60 % 60);
    *at++ = ':';
    return put_two(at, second % 60);
}

char *
put_rfc3339(char *at, uint64_t ms)
{
    struct civil_time time = civil_from_ms(ms);
    at = put_two(at, time.year / 100 % 100);
    at = put_two(at, time.year % 100);
    *at++ = '-';
    at = put_two(at, time.month);
    *at++ = '-';
    at = put_two(at, time.day);
    *at++ = 'T';
    at = put_clock(at, time.second);
    *at++ = '.';
    *at++ = (char)('0' + ms % 1000 / 100);
    at = put_two(at, (uint32_t)(ms % 100));
    *at++ = 'Z';
    return at;
}

char *
put_http_date(char *at, uint64_t ms)
{
    static const char weekdays[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct civil_time time = civil_from_ms(ms);
    at = put_bytes(at, weekdays + (size_t)3 * time.weekday, 3);
    at = put_literal(at, ", ");
    at = put_two(at, time.day);
    *at++ = ' ';
    at = put_bytes(at, months + (size_t)3 * (time.month - 1), 3);
    *at++ = ' ';
    at = put_two(at, time.year / 100 % 100);
    at = put_two(at, time.year % 100);
    *at++ = ' ';
    at = put_clock(at, time.second);
    return put_literal(at, " GMT");
}

bool
integer_parse(struct bytes text, int64_t *ret_value)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    const char *at = text.data + negative;
    uint32_t digits = text.size - negative;
    /* Eighteen digits cannot overflow, and nothing here has more. */
    if (digits == 0 || digits > 18 || (at[0] == '0' && text.size > 1))
        return false;
    int64_t value = 0;
    for (uint32_t i = 0; i < digits; i++) {
        unsigned digit = (unsigned)(unsigned char)at[i] - '0';
        if (digit > 9)
            return false;
        value = value * 10 + (int64_t)digit;
    }
    *ret_value = negative ? -value : value;
    return true;
}

int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* `count` digits at *position, which moves past them; -1 where they are not there. */
static int64_t
digits_take(struct bytes text, uint32_t *position, uint32_t count)
{
    if (text.size - *position < count)
        return -1;
    int64_t value = 0;
    for (uint32_t i = 0; i < count; i++) {
        char c = text.data[*position + i];
        if (c < '0' || c > '9')
            return -1;
        value = value * 10 + (c - '0');
    }
    *position += count;
    return value;
}

static bool
char_take(struct bytes text, uint32_t *position, char c)
{
    if (*position == text.size || (text.data[*position] != c && text.data[*position] != c + ('a' - 'A')))
        return false;
    (*position)++;
    return true;
}

/* The offset from UTC in minutes: Z, or a sign with hours and minutes. */
static bool
offset_take(struct bytes text, uint32_t *position, int64_t *ret_minutes)
{
    if (char_take(text, position, 'Z')) {
        *ret_minutes = 0;
        return true;
    }
    if (*position == text.size)
        return false;
    char sign = text.data[*position];
    if (sign != '+' && sign != '-')
        return false;
    (*position)++;
    int64_t hours = digits_take(text, position, 2);
    if (hours < 0 || hours > 23 || *position == text.size || text.data[(*position)++] != ':')
        return false;
    int64_t minutes = digits_take(text, position, 2);
    if (minutes < 0 || minutes > 59)
        return false;
    *ret_minutes = sign == '+' ? hours * 60 + minutes : -(hours * 60 + minutes);
    return true;
}

static bool
literal_take(struct bytes text, uint32_t *position, char c)
{
    if (*position == text.size || text.data[*position] != c)
        return false;
    (*position)++;
    return true;
}

/* A digit is what its value is written as, but for its case. */
bool
uuid_parse(struct bytes text, struct uuid *ret_uuid)
{
    struct uuid uuid;
    const char *at = text.data;
    uint64_t digits[4];
    uint64_t wrong = 0;
    if (text.size != UUID_TEXT_SIZE || at[8] != '-' || at[13] != '-' || at[18] != '-' || at[23] != '-')
        return false;
    memcpy(&digits[0], at, 8);
    memcpy(&digits[1], at + 9, 4);
    memcpy((char *)&digits[1] + 4, at + 14, 4);
    memcpy(&digits[2], at + 19, 4);
    memcpy((char *)&digits[2] + 4, at + 24, 4);
    memcpy(&digits[3], at + 28, 8);
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t word = __builtin_bswap64(digits[i]);
        uint32_t value = value_of(word);
        wrong |= digits_of(value) ^ (word | (word & EACH_BYTE(0x40)) >> 1);
        value = __builtin_bswap32(value);
        memcpy(uuid.byte + 4 * i, &value, 4);
    }
    if (wrong != 0 || uuid.byte[6] >> 4 != 7 || uuid.byte[8] >> 6 != 2)
        return false;
    *ret_uuid = uuid;
    return true;
}

/* RFC 3339, section 5.6. A fraction finer than milliseconds is cut; a leap second is refused, since no
 * such moment exists in the milliseconds since 1970. */
bool
rfc3339_parse(struct bytes text, int64_t *ret_ms)
{
    static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint32_t at = 0;
    int64_t year = digits_take(text, &at, 4);
    if (year < 0 || !literal_take(text, &at, '-'))
        return false;
    int64_t month = digits_take(text, &at, 2);
    if (month < 1 || month > 12 || !literal_take(text, &at, '-'))
        return false;
    int64_t day = digits_take(text, &at, 2);
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day < 1 || day > month_days[month - 1] + (month == 2 && leap) || !char_take(text, &at, 'T'))
        return false;
    int64_t hour = digits_take(text, &at, 2);
    if (hour < 0 || hour > 23 || !literal_take(text, &at, ':'))
        return false;
    int64_t minute = digits_take(text, &at, 2);
    if (minute < 0 || minute > 59 || !literal_take(text, &at, ':'))
        return false;
    int64_t second = digits_take(text, &at, 2);
    if (second < 0 || second > 59)
        return false;
    int64_t ms = 0;
    if (literal_take(text, &at, '.')) {
        int64_t scale = 100;
        int64_t digit = digits_take(text, &at, 1);
        if (digit < 0)
            return false;
        for (; digit >= 0; digit = digits_take(text, &at, 1)) {
            ms += digit * scale;
            scale /= 10;
        }
    }
    int64_t offset;
    if (!offset_take(text, &at, &offset) || at != text.size)
        return false;
    *ret_ms =
        ((days_from_civil(year, month, day) * 1440 + hour * 60 + minute - offset) * 60 + second) * 1000 +
        ms;
    return true;
}

/* Well-formed UTF-8 by the table of Unicode's section 3.9: no overlong forms, no surrogates. */
bool
utf8_valid(struct bytes text)
{
    uint32_t i = 0;
    while (i < text.size) {
        uint8_t lead = (uint8_t)text.data[i++];
        if (lead < 0x80)
            continue;
        uint32_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || text.size - i < more)
            return false;
        uint8_t next = (uint8_t)text.data[i];
        uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        if (next < low || next > high)
            return false;
        for (uint32_t k = 1; k < more; k++)
            if (((uint8_t)text.data[i + k] & 0xC0) != 0x80)
                return false;
        i += more;
    }
    return true;
}
