/* Decimal texts and floating-point numbers, both ways, rounded as IEEE 754 wants it. */
#ifndef GATECAST_NUMBERS_H
#define GATECAST_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>

#define LONGEST_NUMBER 16 /* bytes of a float as text, and room for a comma */
#define SCRATCH 32        /* bytes behind a number that may be written to with it */

/* What is left of a text; a NUL follows its end. */
typedef struct {
    const char *at, *end;
} Cursor;

/* Reads the JSON number at the cursor; false where there is none. The nearest double, ties to even.
   `whole` becomes true where the number has neither a fraction nor an exponent. */
bool read_number(Cursor *cursor, double *number, bool *whole);

/* Writes a finite float with the fewest digits that read back to the same float, the nearest of
   them; the end of what was written, behind which SCRATCH bytes are overwritten. */
char *write_number(char *out, float number);

#endif
