/* A request whose body has been read: texts within the body, and all values one behind the other. */
#ifndef GATECAST_QUESTION_H
#define GATECAST_QUESTION_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#define MOST_LEVELS 64

typedef struct {
    const char *from; /* NULL: not said */
    Py_ssize_t size;
} Span;

/* One series: where its values begin, and how many of them count. */
typedef struct {
    Span item_id, start, freq;
    Py_ssize_t first, length;
} Series;

typedef struct {
    PyObject_HEAD
    PyObject *body; /* bytes, in which all spans lie */
    Span name;      /* of the model, or what a request in tensors calls itself */
    long horizon;   /* 0: not said */
    Py_ssize_t levels_count; /* -1: not said */
    double levels[MOST_LEVELS];
    Py_ssize_t count, room; /* of the series */
    Series *series;
    Py_ssize_t steps; /* of a row in tensors; 0 where series are as long as they are */
    Py_ssize_t values_count;
    float *values; /* NaN = missing; with room for as many as a body of this size can hold */
} Question;

extern PyTypeObject QuestionType, RowsType;

/* An empty question about a body, which must be bytes; NULL with an error set. */
Question *new_question(PyObject *body);

/* False with an error set where there is no memory. */
bool add_series(Question *question, Series series);

static inline void add_value(Question *question, float value) {
    question->values[question->values_count++] = value;
}

/* The method `rows` of a question. */
PyObject *group_rows(Question *question, PyObject *args);

#endif
