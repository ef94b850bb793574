/* Bodies of requests in JSON -> questions.

   What is read here is understood as the handlers understand it. All else is left to them: every
   mistake, which they explain, and every field, escape or form of a number that is seldom sent. So
   each function says no more than whether it has read what it was made for. */

#include "reading.h"

#include <math.h>
#include <string.h>

#include "numbers.h"
#include "question.h"

#define LARGEST_VALUE 1e36 /* see placement.py */
#define MOST_STEPS (1 << 30)
#define LONGEST_TEXT 256 /* bytes; an item_id may have as many characters */

static void skip_space(Cursor *c) {
    while (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t') c->at++;
}

/* Reads one character of structure and the space around it. */
static bool take(Cursor *c, char wanted) {
    skip_space(c);
    if (*c->at != wanted) return false;
    c->at++;
    skip_space(c);
    return true;
}

static bool take_word(Cursor *c, const char *word) {
    size_t size = strlen(word);
    if ((size_t)(c->end - c->at) < size || memcmp(c->at, word, size) != 0) return false;
    c->at += size;
    return true;
}

/* A text without escapes; what is not ASCII must be UTF-8. */
static bool read_text(Cursor *c, Span *text) {
    if (*c->at != '"') return false;
    const char *at = c->at + 1;
    unsigned char all = 0;
    while ((unsigned char)*at >= 0x20 && *at != '"' && *at != '\\') all |= (unsigned char)*at++;
    text->from = c->at + 1;
    text->size = at - text->from;
    c->at = at + 1;
    if (*at != '"' || text->size > LONGEST_TEXT) return false;
    if (all < 0x80) return true;
    PyObject *decoded = PyUnicode_DecodeUTF8(text->from, text->size, NULL);
    if (!decoded) PyErr_Clear();
    Py_XDECREF(decoded);
    return decoded != NULL;
}

static bool read_text_or_null(Cursor *c, Span *text) {
    return take_word(c, "null") || read_text(c, text);
}

/* A whole number from 1 on. */
static bool read_count(Cursor *c, Py_ssize_t *count) {
    double number;
    bool whole;
    if (!read_number(c, &number, &whole) || !whole || !(1 <= number && number <= MOST_STEPS))
        return false;
    *count = (Py_ssize_t)number;
    return true;
}

/* Goes on to the next member of an array or object: 1, at its end 0, else -1. */
static int next(Cursor *c, char end) {
    if (take(c, ',')) return 1;
    return take(c, end) ? 0 : -1;
}

/* Numbers and nulls behind one another. */
static bool read_values(Cursor *c, Question *question) {
    if (!take(c, '[')) return false;
    if (take(c, ']')) return true;
    int more;
    do {
        double value = NAN;
        bool whole;
        if (*c->at == 'n' ? !take_word(c, "null") : !read_number(c, &value, &whole)) return false;
        if (fabs(value) > LARGEST_VALUE) return false;
        add_value(question, (float)value);
        if (*c->at == ',') { /* nearly always, and often without a space */
            c->at++;
            skip_space(c);
            more = 1;
        } else {
            more = next(c, ']');
        }
    } while (more > 0);
    return more == 0;
}

/* The key of a member among those that are known; its number, or -1 also where it was there before. */
static int read_key(Cursor *c, const char *const known[], int count, unsigned *seen) {
    Span key;
    if (!read_text(c, &key) || !take(c, ':')) return -1;
    for (int at = 0; at < count; at++) {
        if (strlen(known[at]) == (size_t)key.size && !memcmp(known[at], key.from, key.size)) {
            unsigned bit = 1u << at;
            if (*seen & bit) return -1;
            *seen |= bit;
            return at;
        }
    }
    return -1;
}

static bool read_series(Cursor *c, Question *question) {
    static const char *const KEYS[] = {"item_id", "start", "target", "freq"};
    Series series = {.first = question->values_count};
    unsigned seen = 0;
    int more;
    if (!take(c, '{')) return false;
    do {
        bool good = false;
        switch (read_key(c, KEYS, 4, &seen)) {
            case 0: good = read_text(c, &series.item_id); break;
            case 1: good = read_text(c, &series.start); break;
            case 2: good = read_values(c, question); break;
            case 3: good = read_text_or_null(c, &series.freq); break;
        }
        if (!good) return false;
    } while ((more = next(c, '}')) > 0);
    series.length = question->values_count - series.first;
    return more == 0 && (seen & 7) == 7 && add_series(question, series);
}

static bool read_many_series(Cursor *c, Question *question) {
    if (!take(c, '[')) return false;
    int more;
    do {
        if (!read_series(c, question)) return false;
    } while ((more = next(c, ']')) > 0);
    return more == 0;
}

static bool read_horizon(Cursor *c, Question *question) {
    Py_ssize_t horizon;
    if (take_word(c, "null")) return true;
    if (!read_count(c, &horizon)) return false;
    question->horizon = (long)horizon;
    return true;
}

static bool read_levels(Cursor *c, Question *question) {
    if (take_word(c, "null")) return true;
    if (!take(c, '[')) return false;
    question->levels_count = 0;
    int more;
    do {
        bool whole;
        if (question->levels_count == MOST_LEVELS) return false;
        if (!read_number(c, &question->levels[question->levels_count++], &whole)) return false;
    } while ((more = next(c, ']')) > 0);
    return more == 0;
}

/* {"model", "series": [{"item_id", "start", "target", "freq"?}], "horizon"?, "quantile_levels"?} */
static bool read_forecast_body(Cursor *c, Question *question) {
    static const char *const KEYS[] = {"model", "series", "horizon", "quantile_levels"};
    unsigned seen = 0;
    int more;
    if (!take(c, '{')) return false;
    do {
        bool good = false;
        switch (read_key(c, KEYS, 4, &seen)) {
            case 0: good = read_text(c, &question->name); break;
            case 1: good = read_many_series(c, question); break;
            case 2: good = read_horizon(c, question); break;
            case 3: good = read_levels(c, question); break;
        }
        if (!good) return false;
    } while ((more = next(c, '}')) > 0);
    return more == 0 && (seen & 3) == 3;
}

static bool is_text(Span text, const char *wanted) {
    return text.size == (Py_ssize_t)strlen(wanted) && !memcmp(text.from, wanted, text.size);
}

/* A shape: [rows] or [rows, columns], where 0 stands for no second axis. */
static bool read_shape(Cursor *c, Py_ssize_t *rows, Py_ssize_t *columns) {
    *columns = 0;
    if (!take(c, '[') || !read_count(c, rows)) return false;
    if (take(c, ',') && !read_count(c, columns)) return false;
    return take(c, ']');
}

/* What the tensor `lengths` says becomes the lengths of the series. */
static bool read_lengths(Cursor *c, Question *question) {
    if (!take(c, '[')) return false;
    int more;
    do {
        Series series = {.length = 0};
        if (!read_count(c, &series.length) || !add_series(question, series)) return false;
    } while ((more = next(c, ']')) > 0);
    return more == 0;
}

/* {"name", "shape", "datatype", "data"}, of `context` or `lengths`, its name and shape before its
   data; which of them it was, as a bit. */
static unsigned read_tensor(Cursor *c, Question *question, Py_ssize_t *rows) {
    static const char *const KEYS[] = {"name", "shape", "datatype", "data"};
    unsigned seen = 0;
    Span name = {0}, datatype = {0};
    Py_ssize_t columns = 0;
    int more;
    if (!take(c, '{')) return 0;
    do {
        bool good = false;
        switch (read_key(c, KEYS, 4, &seen)) {
            case 0: good = read_text(c, &name); break;
            case 1: good = read_shape(c, rows, &columns); break;
            case 2: good = read_text(c, &datatype); break;
            case 3:
                if (!(seen & 1)) break;
                if (is_text(name, "context")) good = read_values(c, question);
                if (is_text(name, "lengths")) good = read_lengths(c, question);
                break;
        }
        if (!good) return 0;
    } while ((more = next(c, '}')) > 0);
    if (more != 0 || seen != 15) return 0;
    if (is_text(name, "context")) {
        question->steps = columns;
        return columns > 0 && is_text(datatype, "FP32") ? 1 : 0;
    }
    return columns <= 1 && is_text(datatype, "INT64") ? 2 : 0;
}

static bool read_inputs(Cursor *c, Question *question) {
    Py_ssize_t rows[3] = {0};
    unsigned seen = 0;
    int more;
    if (!take(c, '[')) return false;
    do {
        Py_ssize_t some = 0;
        unsigned which = read_tensor(c, question, &some);
        if (!which || seen & which) return false;
        seen |= which;
        rows[which] = some;
    } while ((more = next(c, ']')) > 0);
    if (more != 0 || seen != 3 || rows[1] != rows[2] || question->count != rows[1]) return false;
    if (question->values_count != rows[1] * question->steps) return false;
    for (Py_ssize_t at = 0; at < question->count; at++) {
        question->series[at].first = at * question->steps;
        if (question->series[at].length > question->steps) return false;
    }
    return true;
}

/* {"inputs": [context, lengths], "id"?} */
static bool read_tensors_body(Cursor *c, Question *question) {
    static const char *const KEYS[] = {"inputs", "id"};
    unsigned seen = 0;
    int more;
    if (!take(c, '{')) return false;
    do {
        bool good = false;
        switch (read_key(c, KEYS, 2, &seen)) {
            case 0: good = read_inputs(c, question); break;
            case 1: good = read_text_or_null(c, &question->name); break;
        }
        if (!good) return false;
    } while ((more = next(c, '}')) > 0);
    return more == 0 && seen & 1;
}

static PyObject *read_body(PyObject *body, bool (*read)(Cursor *, Question *)) {
    if (!PyBytes_Check(body)) return PyErr_Format(PyExc_TypeError, "a body is bytes");
    Question *question = new_question(body);
    if (!question) return NULL;
    const char *text = PyBytes_AS_STRING(body);
    Cursor c = {text, text + PyBytes_GET_SIZE(body)};
    if (read(&c, question) && c.at == c.end) return (PyObject *)question;
    Py_DECREF(question);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

PyObject *read_forecast(PyObject *module, PyObject *body) {
    (void)module;
    return read_body(body, read_forecast_body);
}

PyObject *read_tensors(PyObject *module, PyObject *body) {
    (void)module;
    return read_body(body, read_tensors_body);
}
