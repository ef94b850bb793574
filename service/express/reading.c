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

static bool is_text(Span text, const char *wanted) {
    return text.size == (Py_ssize_t)strlen(wanted) && !memcmp(text.from, wanted, (size_t)text.size);
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

/* Reads one value into whatever it is for. */
typedef bool (*Read)(Cursor *c, Question *question, void *into);

/* One element or more. */
static bool read_list(Cursor *c, Question *question, void *into, Read element) {
    int more;
    if (!take(c, '[')) return false;
    do {
        if (!element(c, question, into)) return false;
    } while ((more = next(c, ']')) > 0);
    return more == 0;
}

typedef struct {
    const char *key;
    Read read;
} Member;

#define COUNT(members) ((int)(sizeof(members) / sizeof *(members)))

/* The number of a member by its key, or -1. */
static int find_member(Span key, const Member *members, int count) {
    for (int at = 0; at < count; at++)
        if (is_text(key, members[at].key)) return at;
    return -1;
}

/* Members that are known, none of them twice; those that were there, as bits, or 0. */
static unsigned read_object(Cursor *c, Question *question, void *into, const Member *members,
                            int count) {
    unsigned seen = 0;
    int more;
    if (!take(c, '{')) return 0;
    do {
        Span key;
        if (!read_text(c, &key) || !take(c, ':')) return 0;
        int at = find_member(key, members, count);
        if (at < 0 || seen & 1u << at || !members[at].read(c, question, into)) return 0;
        seen |= 1u << at;
    } while ((more = next(c, '}')) > 0);
    return more == 0 ? seen : 0;
}

/* Numbers and nulls behind one another, or none. */
static bool read_values(Cursor *c, Question *question, void *unused) {
    int more;
    (void)unused;
    if (!take(c, '[')) return false;
    if (take(c, ']')) return true;
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

static bool read_item_id(Cursor *c, Question *question, void *series) {
    (void)question;
    return read_text(c, &((Series *)series)->item_id);
}

static bool read_start(Cursor *c, Question *question, void *series) {
    (void)question;
    return read_text(c, &((Series *)series)->start);
}

static bool read_freq(Cursor *c, Question *question, void *series) {
    (void)question;
    return read_text_or_null(c, &((Series *)series)->freq);
}

static bool read_series(Cursor *c, Question *question, void *unused) {
    static const Member MEMBERS[] = {
        {"item_id", read_item_id}, {"start", read_start}, {"target", read_values}, {"freq", read_freq}};
    static const unsigned NEEDED = 7; /* all but the last */
    Series series = {.first = question->values_count};
    (void)unused;
    unsigned seen = read_object(c, question, &series, MEMBERS, COUNT(MEMBERS));
    series.length = question->values_count - series.first;
    return (seen & NEEDED) == NEEDED && add_series(question, series);
}

static bool read_many_series(Cursor *c, Question *question, void *unused) {
    return read_list(c, question, unused, read_series);
}

static bool read_model(Cursor *c, Question *question, void *unused) {
    (void)unused;
    return read_text(c, &question->name);
}

static bool read_horizon(Cursor *c, Question *question, void *unused) {
    Py_ssize_t horizon;
    (void)unused;
    if (take_word(c, "null")) return true;
    if (!read_count(c, &horizon)) return false;
    question->horizon = (long)horizon;
    return true;
}

static bool read_level(Cursor *c, Question *question, void *unused) {
    bool whole;
    (void)unused;
    if (question->levels_count == MOST_LEVELS) return false;
    return read_number(c, &question->levels[question->levels_count++], &whole);
}

static bool read_levels(Cursor *c, Question *question, void *unused) {
    if (take_word(c, "null")) return true;
    question->levels_count = 0;
    return read_list(c, question, unused, read_level);
}

/* {"model", "series": [{"item_id", "start", "target", "freq"?}], "horizon"?, "quantile_levels"?} */
static bool read_forecast_body(Cursor *c, Question *question) {
    static const Member MEMBERS[] = {{"model", read_model},
                                     {"series", read_many_series},
                                     {"horizon", read_horizon},
                                     {"quantile_levels", read_levels}};
    static const unsigned NEEDED = 3; /* the first two */
    return (read_object(c, question, NULL, MEMBERS, COUNT(MEMBERS)) & NEEDED) == NEEDED;
}

/* What is said of one tensor. */
typedef struct {
    Span name, datatype;
    Py_ssize_t rows, columns; /* columns: 0 where there is no second axis */
} Tensor;

static bool read_name(Cursor *c, Question *question, void *tensor) {
    (void)question;
    return read_text(c, &((Tensor *)tensor)->name);
}

static bool read_datatype(Cursor *c, Question *question, void *tensor) {
    (void)question;
    return read_text(c, &((Tensor *)tensor)->datatype);
}

/* [rows] or [rows, columns] */
static bool read_shape(Cursor *c, Question *question, void *into) {
    Tensor *tensor = into;
    (void)question;
    if (!take(c, '[') || !read_count(c, &tensor->rows)) return false;
    if (take(c, ',') && !read_count(c, &tensor->columns)) return false;
    return take(c, ']');
}

/* A length becomes a series, whose values are elsewhere. */
static bool read_length(Cursor *c, Question *question, void *unused) {
    Series series = {.length = 0};
    (void)unused;
    return read_count(c, &series.length) && add_series(question, series);
}

/* Of a tensor whose name has come before. */
static bool read_data(Cursor *c, Question *question, void *into) {
    Tensor *tensor = into;
    if (!tensor->name.from) return false;
    if (is_text(tensor->name, "context")) return read_values(c, question, NULL);
    return is_text(tensor->name, "lengths") && read_list(c, question, NULL, read_length);
}

/* One of the two tensors, none of them twice. */
static bool read_tensor(Cursor *c, Question *question, void *both) {
    static const Member MEMBERS[] = {
        {"name", read_name}, {"shape", read_shape}, {"datatype", read_datatype}, {"data", read_data}};
    static const unsigned NEEDED = 15; /* all */
    Tensor tensor = {.rows = 0};
    if (read_object(c, question, &tensor, MEMBERS, COUNT(MEMBERS)) != NEEDED) return false;
    bool is_context = is_text(tensor.name, "context");
    Tensor *known = (Tensor *)both + !is_context;
    if (known->rows || !is_text(tensor.datatype, is_context ? "FP32" : "INT64")) return false;
    *known = tensor;
    return is_context ? tensor.columns > 0 : tensor.columns <= 1;
}

/* Whether the tensors belong together; their lengths are then told where their values begin. */
static bool join(Question *question, const Tensor *context, const Tensor *lengths) {
    if (context->rows != lengths->rows || context->rows != question->count) return false;
    if (question->values_count != context->rows * context->columns) return false;
    question->steps = context->columns;
    for (Py_ssize_t at = 0; at < question->count; at++) {
        question->series[at].first = at * context->columns;
        if (question->series[at].length > context->columns) return false;
    }
    return true;
}

static bool read_inputs(Cursor *c, Question *question, void *unused) {
    Tensor both[2] = {{.rows = 0}};
    (void)unused;
    return read_list(c, question, both, read_tensor) && both[0].rows && both[1].rows &&
           join(question, &both[0], &both[1]);
}

static bool read_id(Cursor *c, Question *question, void *unused) {
    (void)unused;
    return read_text_or_null(c, &question->name);
}

/* {"inputs": [context, lengths], "id"?} */
static bool read_tensors_body(Cursor *c, Question *question) {
    static const Member MEMBERS[] = {{"inputs", read_inputs}, {"id", read_id}};
    return read_object(c, question, NULL, MEMBERS, COUNT(MEMBERS)) & 1;
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
