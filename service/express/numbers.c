/* Decimal texts and floating-point numbers, both ways.

   Reading: w * 10^e with a w of at most 19 digits. Where both factors are exact doubles, one product
   or quotient is rounded once (W. D. Clinger, How to Read Floating Point Numbers Accurately, 1990);
   where 10^-e fits into 64 bits, the quotient is taken in integers with its remainder. What is left
   is rare, and Python's own reader takes it.

   Writing: of the decimals within half a unit of the last place the shortest, and of these the
   nearest (R. Giulietti, The Schubfach way to render doubles, 2020). The interval is scaled by a
   power of ten rounded up to 64 bits. That this suffices was found by comparing every positive float
   with C++'s std::to_chars; the tests look at both ends of every binade and at half a million others. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "numbers.h"
#include "powers.h"

typedef unsigned __int128 uint128_t;

#define MOST_DIGITS 19 /* that any uint64 has room for */
#define MOST_WRITTEN 9 /* digits of a float */
#define COPIED 16      /* bytes at once: faster than just as many as are wanted */

static const double EXACT[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                               1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                               1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define LARGEST_EXACT 22
static const uint64_t WHOLE[] = {1u,
                                 10u,
                                 100u,
                                 1000u,
                                 10000u,
                                 100000u,
                                 1000000u,
                                 10000000u,
                                 100000000u,
                                 1000000000u,
                                 10000000000u,
                                 100000000000u,
                                 1000000000000u,
                                 10000000000000u,
                                 100000000000000u,
                                 1000000000000000u,
                                 10000000000000000u,
                                 100000000000000000u,
                                 1000000000000000000u,
                                 10000000000000000000u};

/* 2^exponent, of a normal double. */
static double power_of_two(int exponent) {
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* w / 10^places, correctly rounded; w > 0, places 0..19. */
static double quotient(uint64_t w, int places) {
    int up = __builtin_clzll(w);
    uint128_t scaled = (uint128_t)(w << up) << 64;
    uint64_t by = WHOLE[places];
    uint128_t whole = scaled / by; /* at least 2^63 */
    bool rest = scaled % by != 0;
    uint64_t high = (uint64_t)(whole >> 64);
    int down = high ? 64 - __builtin_clzll(high) : 0;
    uint64_t kept = (uint64_t)(whole >> down);
    rest |= ((uint128_t)kept << down) != whole;
    /* Eleven bits more than a double has, the last of which stands for all that was cut off. */
    return (double)(kept | rest) * power_of_two(down - 64 - up);
}

static bool is_digit(char one) { return (unsigned char)(one - '0') < 10; }

/* Python's own reader, for what is rare. */
static double the_long_way(const char *text) {
    char *end;
    double found = PyOS_string_to_double(text, &end, NULL);
    if (PyErr_Occurred()) PyErr_Clear(); /* it has no memory; infinity is refused by everybody */
    return end == text ? HUGE_VAL : found;
}

bool read_number(Cursor *cursor, double *number, bool *whole) {
    const char *from = cursor->at, *at = from;
    bool negative = *at == '-', is_whole = true;
    uint64_t w = 0;
    const char *digits = at += negative;
    while (is_digit(*at)) w = 10 * w + (uint64_t)(*at++ - '0');
    ptrdiff_t count = at - digits;
    if (!count || (*digits == '0' && count > 1)) return false;
    long exponent = 0;
    if (*at == '.') {
        const char *fraction = ++at;
        while (is_digit(*at)) w = 10 * w + (uint64_t)(*at++ - '0');
        if (at == fraction) return false;
        count += at - fraction;
        exponent = -(long)(at - fraction);
        is_whole = false;
    }
    if (*at == 'e' || *at == 'E') {
        bool down = *++at == '-';
        at += down || *at == '+';
        if (!is_digit(*at)) return false;
        long said = 0;
        for (; is_digit(*at); at++) said = said < 9999 ? 10 * said + (*at - '0') : said;
        exponent += down ? -said : said;
        is_whole = false;
    }
    cursor->at = at;
    *whole = is_whole;
    double found;
    if (count <= MOST_DIGITS && !w) {
        found = 0.0;
        negative = negative && !is_whole; /* -0 is an integer, and those know one zero */
    } else if (count <= MOST_DIGITS && w <= 1ull << 53 && labs(exponent) <= LARGEST_EXACT) {
        found = exponent < 0 ? (double)w / EXACT[-exponent] : (double)w * EXACT[exponent];
    } else if (count <= MOST_DIGITS && -MOST_DIGITS <= exponent && exponent <= 0) {
        found = quotient(w, (int)-exponent);
    } else {
        *number = the_long_way(from);
        return true;
    }
    *number = negative ? -found : found;
    return true;
}

/* floor(log10(2^q)), or floor(log10(3/4 * 2^q)). */
static int decimal_exponent(int q, bool narrow) {
    return (q * 1262611 - (narrow ? 524031 : 0)) >> 22;
}

/* floor(log2(10^-k)) - 63: what an entry of POWERS is to be multiplied by, as a power of two. */
static int power_exponent(int k) { return ((-k * 1741647) >> 19) - 63; }

/* floor(quarters * power / 2^down), and in its last bit whether anything was cut off. Where the
   power was rounded up, a little behind the point is nothing. */
static uint32_t scaled(uint64_t quarters, uint64_t power, int down, uint64_t slack) {
    uint128_t product = (uint128_t)quarters * power;
    uint64_t cut_off = (uint64_t)product & ((1ull << down) - 1);
    return (uint32_t)(product >> down) | (cut_off > slack);
}

/* The decimal digits * 10^*exponent of a float c * 2^q. */
static uint32_t shortest(uint32_t c, int q, int *exponent) {
    bool narrow = c == 1u << 23 && q > -149; /* the float below is half as far away */
    int k = decimal_exponent(q, narrow);
    int down = -(power_exponent(k) + q);
    uint64_t power = POWERS[k - LEAST_POWER];
    uint64_t slack = -27 <= k && k <= 0 ? 0 : 1u << 27; /* up to 10^27, a power is exact */
    uint32_t value = scaled(4 * (uint64_t)c, power, down, slack);
    uint32_t low = scaled(4 * (uint64_t)c - (narrow ? 1 : 2), power, down, slack);
    uint32_t high = scaled(4 * (uint64_t)c + 2, power, down, slack);
    uint32_t open = c & 1; /* a bound reads back to an even float only */
    *exponent = k;
    uint32_t below = value >> 2, above = below + 1;
    uint32_t ten_below = below / 10 * 10, ten_above = ten_below + 10;
    bool ten_below_is_in = low + open <= ten_below << 2;
    bool ten_above_is_in = (ten_above << 2) + open <= high;
    if (below >= 10 && ten_below_is_in != ten_above_is_in)
        return ten_below_is_in ? ten_below : ten_above;
    bool below_is_in = low + open <= below << 2;
    bool above_is_in = (above << 2) + open <= high;
    if (below_is_in != above_is_in) return below_is_in ? below : above;
    uint32_t middle = (below + above) << 1;
    return value < middle || (value == middle && !(below & 1)) ? below : above;
}

static const char PAIRS[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "4950515253545556575859606162636465666768697071727374757677787980818283848586878889909192939495969798"
    "99";

/* Digits as text, with room behind them to be copied in one piece. */
typedef struct {
    char text[MOST_WRITTEN + COPIED];
    int begin, count;
} Digits;

static void put_pair(char *out, uint32_t pair) { memcpy(out, PAIRS + 2 * pair, 2); }

/* The digits of a number from 1 to 999999999. */
static void spell(uint32_t number, Digits *digits) {
    uint32_t rest = number % 100000000, high = rest / 10000, low = rest % 10000;
    digits->text[0] = (char)('0' + number / 100000000);
    put_pair(digits->text + 1, high / 100);
    put_pair(digits->text + 3, high % 100);
    put_pair(digits->text + 5, low / 100);
    put_pair(digits->text + 7, low % 100);
    int begin = 0;
    while (digits->text[begin] == '0') begin++;
    digits->begin = begin;
    digits->count = MOST_WRITTEN - begin;
}

/* The form that orjson gives a float: 440.71237, 0.000012, 1.5e+14, 1e-7. */
static char *write_decimal(char *out, const Digits *digits, int exponent) {
    const char *text = digits->text + digits->begin;
    int count = digits->count, point = count + exponent; /* digits before it */
    if (0 < point && point < count) { /* nearly always */
        memcpy(out, text, COPIED);
        out[point] = '.';
        memcpy(out + point + 1, text + point, COPIED);
        return out + count + 1;
    }
    if (-6 < point && point <= 0) {
        memcpy(out, "0.00000", 7);
        memcpy(out + 2 - point, text, COPIED);
        return out + 2 - point + count;
    }
    if (0 < point && point <= 13) {
        memcpy(out, text, COPIED);
        memset(out + count, '0', (size_t)(point - count));
        memcpy(out + point, ".0", 2);
        return out + point + 2;
    }
    *out++ = *text;
    if (count > 1) {
        *out++ = '.';
        memcpy(out, text + 1, COPIED);
        out += count - 1;
    }
    int power = point - 1;
    *out++ = 'e';
    *out++ = power < 0 ? '-' : '+';
    if (abs(power) < 10) {
        *out++ = (char)('0' + abs(power));
        return out;
    }
    put_pair(out, (uint32_t)abs(power));
    return out + 2;
}

char *write_number(char *out, float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    *out = '-';
    out += bits >> 31;
    uint32_t c = bits & 0x7fffff;
    int q = (int)(bits >> 23 & 0xff);
    if (!c && !q) {
        memcpy(out, "0.0", 3);
        return out + 3;
    }
    c |= q ? 1u << 23 : 0;
    q = (q ? q : 1) - 150;
    int exponent;
    uint32_t shortened = shortest(c, q, &exponent);
    while (shortened % 10 == 0) {
        shortened /= 10;
        exponent++;
    }
    Digits digits;
    spell(shortened, &digits);
    return write_decimal(out, &digits, exponent);
}
